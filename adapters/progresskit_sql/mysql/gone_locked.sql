-- Those of expired records that nobody has begun again.
SELECT id, parts_key
FROM {table} FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s AND expires_at <= {now} AND parts_key IS NOT NULL
ORDER BY id
FOR UPDATE
