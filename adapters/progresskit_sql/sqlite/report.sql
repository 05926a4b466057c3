-- Reports of parts of jobs that go on: of new parts, and of those that the same worker has reported before. The rest is
-- left alone: what might end a job, or begin it, or be of another run, or take a part over.
-- Each part keeps what it was before, and the number of the batch: by that count.sql knows how the sums change.
-- The elements of a tally are those of progresskit.parts.Tally, after the run. ?1 is the time, ?2 the batch.
-- For speed: SQLite makes a table of a list of three states, and none of one of two; CROSS JOIN reads the rows as they
-- come; and steady is grouped so that it gets an index.
INSERT INTO {parts} AS part
    (parts_key, digest, token, state, weight, hundredths, opened_at, restored, batch)
WITH reported ({columns}) AS NOT MATERIALIZED (VALUES {rows}),
asked AS (
    SELECT parent, sum(state = 'succeeded' OR state IN ('failed', 'cancelled')) AS ends
    FROM reported
    {grouped} GROUP BY parent
),
steady AS MATERIALIZED (
    SELECT job.id, job.parts_key, json_extract(job.tally, '$[1]') AS run_token
    FROM asked
    CROSS JOIN {table} AS job ON job.id = asked.parent
    WHERE (job.state IN ('running', 'retrying') OR (job.state = 'pending' AND json_extract(job.tally, '$[4]') IS NULL))
        AND NOT job.cancel_requested
        AND job.expires_at > ?1
        AND job.heard_at < ?1 + job.lease + {skew}
        AND json_extract(job.tally, '$[0]') = job.run
        AND json_extract(job.tally, '$[13]') > 0 -- a part has started
        AND json_extract(job.tally, '$[14]') <= ?1
        AND (
            job.token IS NOT NULL
            OR json_extract(job.tally, '$[2]') IS NULL
            OR json_extract(job.tally, '$[2]') > asked.ends + json_extract(job.tally, '$[8]')
                + json_extract(job.tally, '$[9]') + json_extract(job.tally, '$[10]')
        )
    {grouped} GROUP BY job.id
)
SELECT
    steady.parts_key, reported.digest, reported.token, reported.state, reported.weight,
    CASE WHEN reported.state = 'succeeded' THEN {whole} ELSE reported.hundredths END,
    reported.opened_at, reported.restored, ?2
FROM reported
CROSS JOIN steady ON steady.id = reported.parent
WHERE reported.run_token IS NULL OR reported.run_token = steady.run_token
ON CONFLICT (parts_key, digest) DO UPDATE SET
    was_state = part.state,
    was_hundredths = part.hundredths,
    batch = excluded.batch,
    state = CASE
        WHEN part.state = 'succeeded' OR part.state IN ('failed', 'cancelled') THEN part.state
        ELSE excluded.state
    END,
    hundredths = CASE part.state WHEN 'succeeded' THEN part.hundredths ELSE max(part.hundredths, excluded.hundredths) END,
    opened_at = CASE part.state WHEN 'succeeded' THEN part.opened_at ELSE min(part.opened_at, excluded.opened_at) END
WHERE part.token = excluded.token
    AND (part.state NOT IN ('failed', 'cancelled') OR excluded.state <> 'succeeded')
