UPDATE {table}
SET cancel_requested = 1
WHERE id IN (SELECT value FROM json_each(:ids))
