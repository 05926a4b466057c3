-- Of the records that the sweep deletes next.
DELETE FROM {parts}
WHERE (parts_key, digest) IN (
    SELECT part.parts_key, part.digest
    FROM (SELECT parts_key FROM {table} WHERE expires_at <= :now ORDER BY expires_at LIMIT 500) AS gone
    JOIN {parts} AS part USING (parts_key)
    LIMIT :limit
)
