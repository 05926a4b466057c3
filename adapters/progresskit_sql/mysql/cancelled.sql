SELECT id
FROM {table} FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s
    AND expires_at > {now}
    AND state NOT IN ('succeeded', 'failed', 'cancelled')
    AND cancel_requested
