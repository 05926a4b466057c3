-- Which reports of a batch were stored, where some were not.
SELECT json_group_array(json_array(job.id, part.digest))
FROM json_each(:asked) AS asked
JOIN {table} AS job ON job.id = json_extract(asked.value, '$[0]')
JOIN {parts} AS part ON part.parts_key = job.parts_key AND part.digest = json_extract(asked.value, '$[1]')
WHERE part.batch = :batch
