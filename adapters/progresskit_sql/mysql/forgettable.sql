SELECT id
FROM {table} FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s
    AND expires_at > {now}
    AND (state IN ('succeeded', 'failed', 'cancelled') OR (state = 'running' AND ABS({now} - heard_at) >= lease))
FOR UPDATE
