id,
CONCAT_WS(' ', run, attempt, seq, state, cancel_requested, ABS({now} - heard_at) >= lease, born, COALESCE(created, '')),
verdict,
body
