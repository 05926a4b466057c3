-- Those of them that nobody has begun again.
SELECT parts_key
FROM {table} FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s AND expires_at <= {now}
ORDER BY id
FOR UPDATE
