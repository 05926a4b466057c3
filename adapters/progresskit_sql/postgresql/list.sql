SELECT {record}
FROM {table}
WHERE expires_at > {now}
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
ORDER BY heard_minute DESC, heard_at DESC
LIMIT %(limit)s
