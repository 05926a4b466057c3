-- It fails where a table, or a column that a table of an earlier version lacks, is not there.
SELECT jobs.{added}, part.digest
FROM {table} AS jobs
JOIN {parts} AS part USING (parts_key)
LIMIT 0
