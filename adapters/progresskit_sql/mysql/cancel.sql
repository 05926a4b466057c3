UPDATE {table} FORCE INDEX (PRIMARY)
SET cancel_requested = 1
WHERE id IN %(ids)s
    AND expires_at > {now}
    AND state NOT IN ('succeeded', 'failed', 'cancelled')
    AND NOT cancel_requested
