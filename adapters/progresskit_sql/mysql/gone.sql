-- The records that the sweep deletes next; only those that have parts.
SELECT id, parts_key
FROM (
    SELECT id, parts_key
    FROM {table} FORCE INDEX (by_expires_at)
    WHERE expires_at <= {now}
    ORDER BY expires_at
    LIMIT 500
) AS gone
WHERE parts_key IS NOT NULL
