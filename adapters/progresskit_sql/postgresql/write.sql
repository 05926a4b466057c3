-- A batch, in the order of the ids, so that two of them that meet never wait for each other in a circle. What was taken
-- or renewed is told on a channel, as many ids at once as a notification holds (8,000 bytes).
WITH written AS (
    SELECT
        id, role, run, attempt, seq, token, state, kind, body, lease,
        present.seconds AS heard_at, present.seconds + ttl AS expires_at,
        present.seconds - age AS opened_at, restored, born
    FROM unnest(
        {each_id}, {each_role}, {each_run}::bigint[], {each_attempt}::bigint[], {each_seq}::bigint[],
        {each_token}, {each_state}, {each_kind}, {each_body},
        {each_lease}::double precision[], {each_ttl}::double precision[],
        {each_age}::double precision[], {each_restored}::boolean[], {each_born}::bigint[]
    ) AS batch (id, role, run, attempt, seq, token, state, kind, body, lease, ttl, age, restored, born),
    (
        SELECT
            {now} AS seconds,
            -- Nobody waits for the disk but for the end of a job: what else is lost in a crash is soon written again.
            CASE WHEN %(lasting)s THEN '' ELSE set_config('synchronous_commit', 'off', true) END AS waiting
        OFFSET 0
    ) AS present
    WHERE present.waiting IS NOT NULL -- else it would not be done
    ORDER BY id COLLATE "C"
),
taken AS (
    INSERT INTO {table} AS stored
        (
            id, role, run, attempt, seq, token, state, kind, body, lease, heard_at, expires_at,
            opened_at, restored, born
        )
    SELECT * FROM written
    ON CONFLICT (id) DO UPDATE SET
        role = excluded.role,
        run = CASE
            WHEN {expired} THEN excluded.run
            WHEN {external} OR {same_run} THEN stored.run
            ELSE greatest(excluded.run, stored.run + 1)
        END,
        attempt = CASE WHEN {external_on_top} THEN stored.attempt ELSE excluded.attempt END,
        seq = CASE WHEN {external_on_top} THEN stored.seq + (excluded.state <> 'pending')::int ELSE excluded.seq END,
        token = CASE WHEN {external_on_top} THEN stored.token ELSE excluded.token END,
        state = CASE WHEN {repeated} THEN stored.state ELSE excluded.state END,
        kind = CASE WHEN {external_on_top} OR {repeated} THEN stored.kind ELSE excluded.kind END,
        body = CASE WHEN {external_on_top} OR {repeated} THEN stored.body ELSE excluded.body END,
        verdict = CASE
            WHEN {external_on_top} AND excluded.state <> 'pending' THEN excluded.body
            WHEN {external_on_top} OR {own} THEN stored.verdict
        END,
        created = CASE
            WHEN {external_on_top} OR {repeated} THEN stored.created
            WHEN {same_run} THEN coalesce(stored.created, {created_at}, '')
        END,
        cancel_requested = ({external_on_top} OR {same_run}) AND stored.cancel_requested,
        lease = excluded.lease,
        heard_at = excluded.heard_at,
        expires_at = excluded.expires_at,
        opened_at = CASE
            WHEN {own} OR {external_on_top} THEN least(stored.opened_at, excluded.opened_at)
            ELSE excluded.opened_at
        END,
        restored = CASE
            WHEN {external_on_top} OR {own} THEN stored.restored
            ELSE excluded.restored
        END,
        born = CASE WHEN {expired} THEN excluded.born ELSE stored.born END
    WHERE CASE
        WHEN {expired} THEN true
        WHEN {external} AND excluded.state = 'pending' THEN stored.state = 'pending'
        WHEN {external} THEN NOT {final} AND ({no_older} OR (stored.state = 'pending' AND NOT {late}))
        WHEN NOT {own} THEN {takes_over}
        WHEN {final} THEN {repeated}
        ELSE (stored.attempt, stored.seq) <= (excluded.attempt, excluded.seq)
    END
    RETURNING id, role, run
)
SELECT
    pg_notify(%(channel)s, string_agg(id, ',')),
    json_object_agg(id, run) FILTER (WHERE role IN ('start', 'late start'))
FROM (SELECT *, sum(length(id) + 1) OVER (ROWS UNBOUNDED PRECEDING) / 7800 AS part FROM taken) AS parts
GROUP BY part
