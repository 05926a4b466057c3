SELECT {record}
FROM {table}
WHERE expires_at > {now}
    AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s))
    AND (%(member)s::text IS NULL OR strpos(body, %(member)s) > 0)
ORDER BY heard_minute DESC, heard_at DESC
LIMIT %(limit)s
