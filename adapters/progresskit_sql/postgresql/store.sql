-- Records that were decided: of rows that are locked, and of new ones. Viewers are notified, and workers of a request.
WITH decided AS (
    SELECT batch.*
    FROM unnest(
        {each_id}, {each_run}::bigint[], {each_attempt}::bigint[], {each_seq}::bigint[], {each_token}, {each_state},
        {each_kind}, {each_body}, {each_created}, {each_verdict}, {each_cancel_requested}::boolean[],
        {each_lease}::double precision[], {each_heard_at}::double precision[], {each_expires_at}::double precision[],
        {each_opened_at}::double precision[], {each_restored}::boolean[], {each_born}::bigint[],
        {each_tally}, {each_parts_key}::bigint[]
    ) AS batch (id, {columns}),
    ({present}) AS present
    WHERE present.waiting IS NOT NULL
    ORDER BY id COLLATE "C"
),
added AS (
    INSERT INTO {table} (id, role, {columns})
    SELECT id, 'update', {columns} FROM decided WHERE id = ANY(%(added)s)
    RETURNING id
),
replaced AS (
    UPDATE {table} AS stored
    SET ({columns}) = (SELECT {decided})
    FROM decided
    WHERE stored.id = decided.id AND decided.id <> ALL(%(added)s)
    RETURNING stored.id
),
stored AS (SELECT id FROM added UNION ALL SELECT id FROM replaced),
notified AS (
    SELECT %(channel)s AS channel, id FROM stored WHERE id = ANY(%(notified)s)
    UNION ALL
    SELECT %(cancels)s, id FROM stored WHERE id = ANY(%(cancelled)s)
)
SELECT pg_notify(channel, string_agg(id, ','))
FROM (
    SELECT channel, id, sum(length(id) + 1) OVER (PARTITION BY channel ROWS UNBOUNDED PRECEDING) / 7800 AS piece
    FROM notified
) AS pieces
GROUP BY channel, piece
