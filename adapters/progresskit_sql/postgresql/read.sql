SELECT {record}
FROM {table}
WHERE id = ANY(%(ids)b) AND expires_at > {now}
