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
    ON CONFLICT (id) DO UPDATE SET
        attempt = excluded.attempt,
        seq = excluded.seq,
        token = excluded.token,
        state = CASE WHEN {repeated} THEN stored.state ELSE excluded.state END,
        kind = CASE WHEN {repeated} THEN stored.kind ELSE excluded.kind END,
        body = CASE WHEN {repeated} THEN stored.body ELSE excluded.body END,
        verdict = CASE WHEN {own} THEN stored.verdict END,
        lease = excluded.lease,
        heard_at = excluded.heard_at,
        expires_at = excluded.expires_at,
        opened_at = CASE WHEN {own} THEN least(stored.opened_at, excluded.opened_at) ELSE excluded.opened_at END,
        restored = CASE WHEN {own} THEN stored.restored ELSE excluded.restored END
    WHERE stored.run = excluded.run
        AND stored.expires_at > excluded.heard_at
        AND stored.created IS NOT NULL
        AND excluded.token IS NOT NULL
        AND CASE
            WHEN {own} THEN
                stored.state NOT IN ('succeeded', 'failed', 'cancelled')
                AND (stored.attempt, stored.seq) <= (excluded.attempt, excluded.seq)
            ELSE excluded.created IS NOT NULL AND stored.state = 'pending' AND stored.attempt <= excluded.attempt
        END
    RETURNING id
)
SELECT pg_notify(%(channel)s, string_agg(id, ',')), array_agg(id)
FROM {parts}
GROUP BY part
