SELECT
    part.digest, CONVERT(part.token USING utf8mb4), part.state, part.weight, part.hundredths, part.opened_at,
    part.restored
FROM {table} AS jobs FORCE INDEX (PRIMARY)
JOIN {parts} AS part USING (parts_key)
WHERE jobs.id = %(id)s AND part.digest IN %(digests)s
