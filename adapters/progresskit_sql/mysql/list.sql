SELECT {record}
FROM {table} FORCE INDEX (by_heard_at)
WHERE expires_at > {now}
    AND (%(kind)s IS NULL OR (kind = %(kind)s AND OCTET_LENGTH(kind) = OCTET_LENGTH(%(kind)s))) -- else "a" were "a "
    AND (%(states)s IS NULL OR FIND_IN_SET(state, %(states)s))
    AND (%(member)s IS NULL OR LOCATE(%(member)s, body))
ORDER BY heard_at DESC
LIMIT %(limit)s
