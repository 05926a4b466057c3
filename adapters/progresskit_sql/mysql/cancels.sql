SELECT id
FROM {table} FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s AND expires_at > {now} AND cancel_requested
