-- A batch, in the order of the ids, so that two of them that meet never wait for each other in a circle. It opens
-- records, begins announced jobs, and stores the next write, or a heartbeat, of the owner of a run that has not ended.
-- Only a start has `created`. What was stored is sent to a channel, as many ids at once as a notification holds (8,000
-- bytes).
WITH written AS (
    SELECT
        id, 'update', run, attempt, seq, token, state, kind, body, created, lease,
        present.seconds, present.seconds + ttl, present.seconds - age, restored, born
    FROM unnest(
        {each_id}, {each_run}::bigint[], {each_attempt}::bigint[], {each_seq}::bigint[], {each_token}, {each_state},
        {each_kind}, {each_body}, {each_created}, {each_lease}::double precision[], {each_ttl}::double precision[],
        {each_age}::double precision[], {each_restored}::boolean[], {each_born}::bigint[]
    ) AS batch (id, run, attempt, seq, token, state, kind, body, created, lease, ttl, age, restored, born),
    ({present}) AS present
    WHERE present.waiting IS NOT NULL -- else it would not be done
    ORDER BY id COLLATE "C"
),
stored AS (
    INSERT INTO {table} AS stored
        (
            id, role, run, attempt, seq, token, state, kind, body, created, lease,
            heard_at, expires_at, opened_at, restored, born
        )
    SELECT * FROM written
    {upsert}
    RETURNING id
)
SELECT pg_notify(%(channel)s, string_agg(id, ',')), array_agg(id)
FROM (SELECT id, sum(length(id) + 1) OVER (ROWS UNBOUNDED PRECEDING) / 7800 AS piece FROM stored) AS pieces
GROUP BY piece
