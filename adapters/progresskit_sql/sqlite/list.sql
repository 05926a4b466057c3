SELECT CAST({record} AS BLOB)
FROM {table}
WHERE +expires_at > :now -- the + leaves the index to the order
    AND (:kind IS NULL OR kind = :kind)
    AND (:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
    AND (:member IS NULL OR instr(body, :member))
ORDER BY heard_at DESC
LIMIT :limit
