DELETE FROM {table}
WHERE expires_at <= {now}
    AND (parts_key IS NULL OR NOT EXISTS (SELECT 1 FROM {parts} AS part WHERE part.parts_key = {table}.parts_key))
ORDER BY expires_at
LIMIT %(limit)s
