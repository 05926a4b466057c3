-- Add what report.sql has stored to the sums. ?1 is the time, ?2 the batch.
WITH reported ({columns}) AS (VALUES {rows}),
added AS (
    SELECT
        job.id, max(reported.lease) AS lease, max(reported.ttl) AS ttl,
        sum(part.weight * (part.hundredths - coalesce(part.was_hundredths, 0))) AS sum,
        sum((part.state = 'succeeded') - (part.was_state IS 'succeeded')) AS succeeded,
        sum((part.state = 'failed') - (part.was_state IS 'failed')) AS failed,
        sum((part.state = 'cancelled') - (part.was_state IS 'cancelled')) AS cancelled,
        sum(part.was_state IS NULL) AS new,
        sum(part.state IS NOT part.was_state OR part.hundredths <> part.was_hundredths) AS changes
    FROM reported
    CROSS JOIN {table} AS job ON job.id = reported.parent
    CROSS JOIN {parts} AS part ON part.parts_key = job.parts_key AND part.digest = reported.digest
    WHERE part.batch = ?2
    {grouped} GROUP BY job.id
)
UPDATE {table} AS job
SET
    expires_at = max(job.expires_at, max(?1, job.heard_at) + added.ttl),
    tally = json_set(
        job.tally,
        '$[7]', json_extract(job.tally, '$[7]') + added.sum,
        '$[8]', json_extract(job.tally, '$[8]') + added.succeeded,
        '$[9]', json_extract(job.tally, '$[9]') + added.failed,
        '$[10]', json_extract(job.tally, '$[10]') + added.cancelled,
        '$[11]', json_extract(job.tally, '$[11]') + added.new - added.succeeded - added.failed - added.cancelled,
        '$[12]', json_extract(job.tally, '$[12]') + added.changes,
        '$[14]', json(?3), -- the time as it was written: SQLite keeps 15 digits of a number
        '$[15]', max(json_extract(job.tally, '$[15]'), added.lease)
    )
FROM added
WHERE job.id = added.id
RETURNING id, json_extract(tally, '$[1]')
