-- It fails where there is no table, and otherwise where the table is of an earlier version.
SELECT opened_at, restored, born
FROM {table}
LIMIT 0
