-- Which table it is, and since when the server runs: after a crash, or on another server, something may be missing.
-- And whose session this is: a pooler has told the client another number.
-- And whether the table has the columns that it lacked in an earlier version.
SELECT
    to_regclass(%(table)s)::oid,
    pg_postmaster_start_time(),
    pg_backend_pid(),
    EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass(%(table)s) AND attname = 'born' AND NOT attisdropped
    )
