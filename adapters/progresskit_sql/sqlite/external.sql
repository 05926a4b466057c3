-- An external update. Pending only renews a pending record; a final state is set on top of a record that is not final
-- and whose run did not begin after the update was made.
INSERT INTO {table} AS stored (
    id, run, attempt, seq, token, state, kind, body, lease, heard_at, expires_at, opened_at, restored, born
)
VALUES {rows}
ON CONFLICT (id) DO UPDATE SET
    run = CASE WHEN {expired} THEN excluded.run ELSE stored.run END,
    attempt = CASE WHEN {expired} THEN excluded.attempt ELSE stored.attempt END,
    seq = CASE WHEN {expired} THEN excluded.seq ELSE stored.seq + (excluded.state <> 'pending') END,
    token = CASE WHEN {expired} THEN excluded.token ELSE stored.token END,
    state = excluded.state,
    kind = CASE WHEN {expired} THEN excluded.kind ELSE stored.kind END,
    body = CASE WHEN {expired} THEN excluded.body ELSE stored.body END,
    verdict = CASE
        WHEN {expired} THEN NULL
        WHEN excluded.state = 'pending' THEN stored.verdict
        ELSE excluded.body
    END,
    created = CASE WHEN {expired} THEN NULL ELSE stored.created END,
    cancel_requested = CASE WHEN {expired} THEN 0 ELSE stored.cancel_requested END,
    lease = excluded.lease,
    heard_at = excluded.heard_at,
    expires_at = excluded.expires_at,
    opened_at = CASE WHEN {expired} THEN excluded.opened_at ELSE min(stored.opened_at, excluded.opened_at) END,
    restored = CASE WHEN {expired} THEN excluded.restored ELSE stored.restored END,
    born = CASE WHEN {expired} THEN excluded.born ELSE stored.born END
WHERE CASE
    WHEN {expired} THEN TRUE
    WHEN excluded.state = 'pending' THEN stored.state = 'pending'
    ELSE NOT {final} AND ({no_older} OR (stored.state = 'pending' AND NOT {late}))
END
