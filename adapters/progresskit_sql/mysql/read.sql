SELECT {record}
FROM {table} FORCE INDEX (PRIMARY)
WHERE id IN %(ids)s AND expires_at > {now}
