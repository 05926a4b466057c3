-- Few columns, as PyMySQL takes 5 µs for each; and of the long texts none in another, which may be over what the server
-- takes at once.
CONCAT_WS(
    _utf8mb4 0x1F,
    CONCAT_WS(
        ' ', {now}, id, state, run, attempt, seq, cancel_requested, restored, born, opened_at, heard_at, lease,
        expires_at
    ),
    COALESCE(CONCAT('=', created), ''),
    COALESCE(CONCAT('=', CONVERT(token USING utf8mb4)), ''),
    CONCAT(COALESCE(parts_key, ''), ' ', COALESCE(tally, ''))
),
COALESCE(verdict, ''),
body
