SELECT id, run
FROM {table} FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s
