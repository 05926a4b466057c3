DELETE FROM {parts}
WHERE parts_key IN %(keys)s
LIMIT %(limit)s
