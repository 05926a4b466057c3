-- The rows are locked in the order of the ids, as a batch that is written does.
WITH known AS (
    SELECT id
    FROM {table}
    WHERE id = ANY(%(ids)b) AND expires_at > {now} AND (
        state IN ('succeeded', 'failed', 'cancelled') OR (state = 'running' AND abs({now} - heard_at) >= lease)
    )
    ORDER BY id
    FOR UPDATE
)
DELETE FROM {table} AS stored
USING known
WHERE stored.id = known.id
RETURNING stored.id
