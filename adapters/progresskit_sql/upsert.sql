-- What SQLite and PostgreSQL do with a row that is there: a start begins an announced job, and the owner of a run that has
-- not ended stores its next record, or a heartbeat. Only a start has `created`. All else is left alone.
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
    opened_at = CASE WHEN {own} THEN {least}(stored.opened_at, excluded.opened_at) ELSE excluded.opened_at END,
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
