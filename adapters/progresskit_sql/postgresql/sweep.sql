-- What somebody else is about to delete, or to begin anew, is left to them.
DELETE FROM {table}
WHERE id = ANY(ARRAY(
    SELECT id
    FROM {table}
    WHERE expires_minute <= floor({now} / 60)::bigint
    ORDER BY expires_minute
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING 1
