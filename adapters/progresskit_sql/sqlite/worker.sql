-- What a worker writes. To its own record: what is newer, unless that is final; what is there already only renews it.
-- Over a stranger's: a start that is not late always, and where it can be in the same run; the others see upserts.py.
INSERT INTO {table} AS stored (
    id, run, attempt, seq, token, state, kind, body, lease, heard_at, expires_at, opened_at, restored, born
)
VALUES {rows}
ON CONFLICT (id) DO UPDATE SET
    run = CASE WHEN {expired} THEN excluded.run WHEN {same_run} THEN stored.run ELSE max(excluded.run, stored.run + 1) END,
    attempt = excluded.attempt,
    seq = excluded.seq,
    token = excluded.token,
    state = CASE WHEN {repeated} THEN stored.state ELSE excluded.state END,
    kind = CASE WHEN {repeated} THEN stored.kind ELSE excluded.kind END,
    body = CASE WHEN {repeated} THEN stored.body ELSE excluded.body END,
    verdict = CASE WHEN {own} THEN stored.verdict END,
    created = CASE
        WHEN {repeated} THEN stored.created
        WHEN {same_run} THEN coalesce(stored.created, {created_at}, '')
    END,
    cancel_requested = CASE WHEN {same_run} THEN stored.cancel_requested ELSE 0 END,
    lease = excluded.lease,
    heard_at = excluded.heard_at,
    expires_at = excluded.expires_at,
    opened_at = CASE WHEN {own} THEN min(stored.opened_at, excluded.opened_at) ELSE excluded.opened_at END,
    restored = CASE WHEN {own} THEN stored.restored ELSE excluded.restored END,
    born = CASE WHEN {expired} THEN excluded.born ELSE stored.born END
WHERE CASE
    WHEN {expired} THEN TRUE
    WHEN NOT {own} THEN {takes_over}
    WHEN {final} THEN {repeated}
    ELSE (stored.attempt, stored.seq) <= (excluded.attempt, excluded.seq)
END
