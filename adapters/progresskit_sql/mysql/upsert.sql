-- There is no WHERE here, and each assignment sees those before it: so the first decides what becomes of the write, from
-- a row that nothing has touched yet, and the others go by that. A write comes in with its role in `fate`.
INSERT INTO {table} (
    id, fate, run, attempt, seq, token, state, kind, body, created, lease, heard_at, expires_at, opened_at, restored, born
) VALUES {rows}
ON DUPLICATE KEY UPDATE
    fate = CASE
        WHEN expires_at <= VALUES(heard_at) THEN {afresh}
        WHEN VALUES(fate) IN ({external}, {late_external}) THEN CASE
            WHEN VALUES(state) = 'pending' THEN IF(state = 'pending', {renewed}, {ignored})
            WHEN {final} THEN {ignored}
            WHEN {older} AND (state <> 'pending' OR VALUES(fate) = {late_external}) THEN {ignored}
            ELSE {overridden}
        END
        WHEN token <=> VALUES(token) THEN CASE
            WHEN attempt = VALUES(attempt) AND seq = VALUES(seq) THEN {renewed}
            WHEN {final} OR attempt > VALUES(attempt) THEN {ignored}
            WHEN attempt = VALUES(attempt) AND seq > VALUES(seq) THEN {ignored}
            ELSE {newer}
        END
        WHEN state = 'pending' AND attempt <= VALUES(attempt) THEN
            IF(VALUES(fate) = {late_update} AND {older}, {ignored}, {same_run})
        WHEN VALUES(fate) IN ({update}, {late_update}) AND NOT (restored AND VALUES(opened_at) > opened_at) THEN {ignored}
        WHEN VALUES(fate) = {late_start} AND {older} THEN {ignored}
        WHEN attempt < VALUES(attempt) AND NOT ({final}) THEN {same_run}
        ELSE {next_run}
    END,
    run = CASE fate WHEN {afresh} THEN VALUES(run) WHEN {next_run} THEN GREATEST(VALUES(run), run + 1) ELSE run END,
    born = IF(fate = {afresh}, VALUES(born), born),
    opened_at = CASE
        WHEN fate >= {same_run} THEN VALUES(opened_at)
        WHEN fate >= {renewed} THEN LEAST(opened_at, VALUES(opened_at))
        ELSE opened_at
    END,
    restored = IF(fate >= {same_run}, VALUES(restored), restored),
    attempt = IF(fate >= {newer}, VALUES(attempt), attempt),
    seq = CASE WHEN fate >= {newer} THEN VALUES(seq) WHEN fate = {overridden} THEN seq + 1 ELSE seq END,
    token = IF(fate >= {same_run}, VALUES(token), token),
    state = IF(fate >= {overridden}, VALUES(state), state),
    kind = IF(fate >= {newer}, VALUES(kind), kind),
    cancel_requested = IF(fate >= {next_run}, 0, cancel_requested),
    lease = IF(fate >= {renewed}, VALUES(lease), lease),
    heard_at = IF(fate >= {renewed}, VALUES(heard_at), heard_at),
    expires_at = IF(fate >= {renewed}, VALUES(expires_at), expires_at),
    created = IF(fate >= {next_run}, VALUES(created), created),
    verdict = CASE WHEN fate = {overridden} THEN VALUES(body) WHEN fate >= {same_run} THEN NULL ELSE verdict END,
    body = IF(fate >= {newer}, VALUES(body), body)
