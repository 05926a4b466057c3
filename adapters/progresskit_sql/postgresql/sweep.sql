-- Rows that another session has locked are skipped: it is about to delete them, or to open a new run.
DELETE FROM {table}
WHERE id = ANY(ARRAY(
    SELECT id
    FROM {table} AS gone
    WHERE expires_minute <= floor({now} / 60)::bigint
        AND NOT EXISTS (SELECT FROM {parts} AS part WHERE part.parts_key = gone.parts_key)
    ORDER BY expires_minute
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING 1
