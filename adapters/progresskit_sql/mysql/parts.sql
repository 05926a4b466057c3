-- A part is one text (see record.sql), which ends with the token if it has one.
SELECT CONCAT_WS(
    ' ', part.digest, part.state, part.weight, part.hundredths, part.opened_at, part.restored,
    CONVERT(part.token USING utf8mb4)
)
FROM {table} AS jobs FORCE INDEX (PRIMARY)
JOIN {parts} AS part USING (parts_key)
WHERE jobs.id = %(id)s AND part.digest IN %(digests)s
