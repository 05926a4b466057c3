-- Which table it is, and since when the server runs: after a crash, or on another server, something may be missing.
-- And the number of this session: behind a pooler the client has another one.
-- And whether there is what an earlier version lacked.
SELECT
    to_regclass(%(table)s)::oid,
    pg_postmaster_start_time(),
    pg_backend_pid(),
    EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = to_regclass(%(table)s) AND attname = 'parts_key' AND NOT attisdropped
    ) AND to_regclass(%(parts)s) IS NOT NULL
