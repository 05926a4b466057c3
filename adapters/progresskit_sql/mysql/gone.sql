-- Those with parts among the records that have expired first.
SELECT id
FROM (
    SELECT id, parts_key FROM {table} FORCE INDEX (by_expires_at) WHERE expires_at <= {now} ORDER BY expires_at LIMIT 500
) AS gone
WHERE parts_key IS NOT NULL
