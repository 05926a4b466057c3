-- In a transaction that has the right to write; otherwise as read.sql, with the records that have expired.
SELECT CAST(group_concat({record}, char(30)) AS BLOB)
FROM {table}
WHERE id IN (SELECT value FROM json_each(:ids))
