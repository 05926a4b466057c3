SELECT json_group_object(id, run)
FROM {table}
WHERE id IN (SELECT value FROM json_each(:ids))
