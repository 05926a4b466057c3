SELECT id, run
FROM {table}
WHERE id = ANY(%(ids)b)
