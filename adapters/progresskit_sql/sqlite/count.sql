-- Add what report.sql has stored to the sums.
WITH reported ({columns}) AS (VALUES {rows}),
added AS (
    SELECT
        job.id, max(reported.now) AS now, max(reported.time) AS time, max(reported.lease) AS lease,
        max(reported.ttl) AS ttl,
        sum(part.weight * (part.hundredths - coalesce(part.was_hundredths, 0))) AS sum,
        sum((part.state = 'succeeded') - coalesce(part.was_state = 'succeeded', 0)) AS succeeded,
        sum((part.state = 'failed') - coalesce(part.was_state = 'failed', 0)) AS failed,
        sum((part.state = 'cancelled') - coalesce(part.was_state = 'cancelled', 0)) AS cancelled,
        sum((part.state NOT IN {final}) - coalesce(part.was_state NOT IN {final}, 0)) AS running,
        sum(part.state IS NOT part.was_state OR part.hundredths <> part.was_hundredths) AS changes
    FROM reported
    JOIN {table} AS job ON job.id = reported.parent
    JOIN {parts} AS part ON part.parts_key = job.parts_key AND part.digest = reported.digest
    WHERE part.batch = reported.batch
    GROUP BY job.id
)
UPDATE {table} AS job
SET
    expires_at = max(job.expires_at, max(added.now, job.heard_at) + added.ttl),
    tally = json_set(
        job.tally,
        '$[7]', json_extract(job.tally, '$[7]') + added.sum,
        '$[8]', json_extract(job.tally, '$[8]') + added.succeeded,
        '$[9]', json_extract(job.tally, '$[9]') + added.failed,
        '$[10]', json_extract(job.tally, '$[10]') + added.cancelled,
        '$[11]', json_extract(job.tally, '$[11]') + added.running,
        '$[12]', json_extract(job.tally, '$[12]') + added.changes,
        '$[14]', json(added.time), -- as it was written: SQLite keeps 15 digits of a number
        '$[15]', max(json_extract(job.tally, '$[15]'), added.lease)
    )
FROM added
WHERE job.id = added.id
RETURNING id, json_extract(tally, '$[1]')
