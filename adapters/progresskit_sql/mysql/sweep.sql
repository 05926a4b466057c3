DELETE FROM {table}
WHERE expires_at <= {now} AND parts_key IS NULL
ORDER BY expires_at
LIMIT %(limit)s
