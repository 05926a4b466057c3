id,
CONCAT_WS(
    ' ', {now}, state, run, attempt, seq, cancel_requested, restored, born, opened_at, heard_at, lease, expires_at
),
created,
CONVERT(token USING utf8mb4),
verdict,
tally,
parts_key,
body
