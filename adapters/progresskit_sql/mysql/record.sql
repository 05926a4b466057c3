id,
CONCAT_WS(' ', run, attempt, seq, state, cancel_requested, {now} - heard_at >= lease, born, COALESCE(created, '')),
verdict,
body
