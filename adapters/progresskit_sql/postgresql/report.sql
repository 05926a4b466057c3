-- Reports of parts of jobs that go on: of new parts, and of those that the same worker has reported before. The rest is
-- left alone: what might end a job, or begin it, or be of another run, or take a part over.
--
-- The rows of the jobs are locked first, in the order of the ids, and are read as they are then. Those of the parts may be
-- newer than what this statement could read, so each keeps what it was before: that says by how much the sums change.
-- Nobody is notified: viewers read the sums.
WITH reported AS (
    SELECT batch.*, present.seconds AS now
    FROM unnest(
        {each_parent}, {each_digest}::bigint[], {each_token}, {each_run_token}, {each_state}, {each_weight}::integer[],
        {each_hundredths}::integer[], {each_lease}::double precision[], {each_ttl}::double precision[],
        {each_age}::double precision[], {each_restored}::boolean[]
    ) AS batch (parent, digest, token, run_token, state, weight, hundredths, lease, ttl, age, restored),
    ({present}) AS present
    WHERE present.waiting IS NOT NULL
),
asked AS (
    SELECT parent, count(*) FILTER (WHERE state IN {final}) AS ends, max(now) AS now FROM reported GROUP BY parent
),
locked AS (
    SELECT *
    FROM {table}
    WHERE id = ANY(ARRAY(SELECT parent FROM asked))
    ORDER BY id
    FOR UPDATE
),
-- The elements of a tally are those of progresskit.parts.Tally, after the run.
steady AS (
    SELECT locked.id, locked.parts_key, locked.heard_at, asked.now, locked.tally::json AS tally
    FROM locked
    JOIN asked ON asked.parent = locked.id
    WHERE (locked.state IN ('running', 'retrying') OR (locked.state = 'pending' AND locked.tally::json ->> 4 IS NULL))
        AND NOT locked.cancel_requested
        AND locked.parts_key IS NOT NULL
        AND locked.expires_at > asked.now
        AND locked.heard_at < asked.now + locked.lease + {skew}
        AND (locked.tally::json ->> 0)::bigint = locked.run
        AND (locked.tally::json ->> 13)::double precision > 0 -- a part has started
        AND (locked.tally::json ->> 14)::double precision
            < asked.now + (locked.tally::json ->> 15)::double precision + {skew}
        AND (
            locked.token IS NOT NULL
            OR locked.tally::json ->> 2 IS NULL
            OR (locked.tally::json ->> 2)::bigint > asked.ends + (locked.tally::json ->> 8)::bigint
                + (locked.tally::json ->> 9)::bigint + (locked.tally::json ->> 10)::bigint
        )
),
stored AS (
    INSERT INTO {parts} AS part ({part_columns})
    SELECT
        steady.parts_key, reported.digest, reported.token, reported.state, reported.weight,
        CASE WHEN reported.state = 'succeeded' THEN {whole} ELSE reported.hundredths END,
        reported.now - reported.age, reported.restored
    FROM reported
    JOIN steady ON steady.id = reported.parent
    WHERE reported.run_token IS NULL OR reported.run_token = steady.tally ->> 1
    ON CONFLICT (parts_key, digest) DO UPDATE SET
        was_state = part.state,
        was_hundredths = part.hundredths,
        state = CASE WHEN part.state IN {final} THEN part.state ELSE excluded.state END,
        hundredths = CASE
            WHEN part.state = 'succeeded' THEN part.hundredths
            ELSE greatest(part.hundredths, excluded.hundredths)
        END,
        opened_at = CASE
            WHEN part.state = 'succeeded' THEN part.opened_at
            ELSE least(part.opened_at, excluded.opened_at)
        END
    WHERE part.token = excluded.token
        AND (part.state NOT IN ('failed', 'cancelled') OR excluded.state <> 'succeeded')
    RETURNING parts_key, digest, state, weight, hundredths, was_state, was_hundredths
),
added AS (
    SELECT
        parts_key,
        sum(weight::bigint * (hundredths - coalesce(was_hundredths, 0)))::bigint AS sum,
        sum((state = 'succeeded')::integer - coalesce(was_state = 'succeeded', false)::integer) AS succeeded,
        sum((state = 'failed')::integer - coalesce(was_state = 'failed', false)::integer) AS failed,
        sum((state = 'cancelled')::integer - coalesce(was_state = 'cancelled', false)::integer) AS cancelled,
        sum((state NOT IN {final})::integer - coalesce(was_state NOT IN {final}, false)::integer) AS running,
        count(*) FILTER (WHERE state IS DISTINCT FROM was_state OR hundredths <> was_hundredths) AS changes
    FROM stored
    GROUP BY parts_key
),
taken AS (
    SELECT reported.parent, reported.digest, reported.lease, reported.ttl, steady.parts_key, steady.tally ->> 1 AS run_token
    FROM stored
    JOIN steady ON steady.parts_key = stored.parts_key
    JOIN reported ON reported.parent = steady.id AND reported.digest = stored.digest
),
longest AS (
    SELECT parts_key, max(lease) AS lease, max(ttl) AS ttl FROM taken GROUP BY parts_key
),
counted AS (
    UPDATE {table} AS job
    SET
        expires_at = greatest(job.expires_at, greatest(steady.now, job.heard_at) + longest.ttl),
        tally = json_build_array(
            steady.tally -> 0, steady.tally -> 1, steady.tally -> 2, steady.tally -> 3, steady.tally -> 4, steady.tally -> 5,
            steady.tally -> 6,
            (steady.tally ->> 7)::bigint + added.sum,
            (steady.tally ->> 8)::bigint + added.succeeded,
            (steady.tally ->> 9)::bigint + added.failed,
            (steady.tally ->> 10)::bigint + added.cancelled,
            (steady.tally ->> 11)::bigint + added.running,
            (steady.tally ->> 12)::bigint + added.changes,
            steady.tally -> 13,
            greatest((steady.tally ->> 14)::double precision, steady.now),
            greatest((steady.tally ->> 15)::double precision, longest.lease),
            steady.tally -> 16
        )::text
    FROM steady
    JOIN added ON added.parts_key = steady.parts_key
    JOIN longest ON longest.parts_key = steady.parts_key
    WHERE job.id = steady.id
)
SELECT parent, digest, run_token FROM taken
