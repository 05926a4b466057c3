id,
CONCAT_WS(' ', run, attempt, seq, state, cancel_requested, {now} - heard_at >= lease, COALESCE(created, '')),
verdict,
body
