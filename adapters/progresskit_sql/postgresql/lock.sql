-- In the order of the ids, as a batch is written.
WITH locked AS (
    SELECT *
    FROM {table}
    WHERE id = ANY(%(ids)b)
    ORDER BY id
    FOR UPDATE
)
SELECT {record}
FROM locked
