-- What somebody else is about to delete, or to begin anew, is left to them.
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
