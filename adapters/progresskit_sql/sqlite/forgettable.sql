SELECT json_group_array(id)
FROM {table}
WHERE id IN (SELECT value FROM json_each(:ids))
    AND expires_at > :now
    AND (state IN ('succeeded', 'failed', 'cancelled') OR (state = 'running' AND abs(:now - heard_at) >= lease))
