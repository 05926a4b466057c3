-- All records in one row of one text (see record.sql): each row fetched lets go of the interpreter's lock, and beside
-- a CPU-bound thread it takes 5 ms to get that back. It is a BLOB because the driver refuses text that is not UTF-8.
SELECT CAST(group_concat({record}, char(30)) AS BLOB)
FROM {table}
WHERE id IN (SELECT value FROM json_each(:ids)) AND expires_at > :now
