-- The rows are locked in the order of the ids, as a batch that is written does. Viewers hear of it, and workers.
WITH known AS (
    SELECT id
    FROM {table}
    WHERE id = ANY(%(ids)b) AND expires_at > {now} AND state NOT IN ('succeeded', 'failed', 'cancelled')
    ORDER BY id
    FOR UPDATE
),
marked AS (
    UPDATE {table} AS stored
    SET cancel_requested = true
    FROM known
    WHERE stored.id = known.id
    RETURNING stored.id
)
SELECT
    pg_notify(%(channel)s, string_agg(id, ',')),
    pg_notify(%(cancels)s, string_agg(id, ',')),
    array_agg(id)
FROM (SELECT *, sum(length(id) + 1) OVER (ROWS UNBOUNDED PRECEDING) / 7800 AS part FROM marked) AS parts
GROUP BY part
