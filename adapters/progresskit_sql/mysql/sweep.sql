DELETE FROM {table}
WHERE expires_at <= {now}
ORDER BY expires_at
LIMIT %(limit)s
