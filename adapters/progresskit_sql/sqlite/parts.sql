-- All parts in one row of one text, as records are read; `asked` has the id of a job and a digest in each element.
SELECT group_concat(
    printf(
        '%s %d %s %d %d %.6f %d',
        jobs.id, part.digest, part.state, part.weight, part.hundredths, part.opened_at, part.restored
    ) || char(31) || coalesce('=' || part.token, ''),
    char(30)
)
FROM json_each(:asked) AS asked
JOIN {table} AS jobs ON jobs.id = json_extract(asked.value, '$[0]')
JOIN {parts} AS part ON part.parts_key = jobs.parts_key AND part.digest = json_extract(asked.value, '$[1]')
