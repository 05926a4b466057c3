SELECT id
FROM {table}
WHERE id = ANY(%(ids)b) AND expires_at > {now} AND cancel_requested
