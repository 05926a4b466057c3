-- Opens records, begins announced jobs, and stores the next write, or a heartbeat, of the owner of a run that has not
-- ended. Only a start has `created`. There is no WHERE here, and each assignment sees those before it: so the first
-- decides, and the others go by that. LAST_INSERT_ID makes the answer of the server say that a write was left alone.
INSERT INTO {table} ({columns}) VALUES {rows}
ON DUPLICATE KEY UPDATE
    fate = CASE
        WHEN run = VALUES(run) AND expires_at > VALUES(heard_at) AND created IS NOT NULL THEN CASE
            WHEN token = VALUES(token) THEN CASE
                WHEN state IN ('succeeded', 'failed', 'cancelled') THEN {left_alone}
                WHEN attempt < VALUES(attempt) THEN {newer}
                WHEN attempt > VALUES(attempt) OR seq > VALUES(seq) THEN {left_alone}
                ELSE IF(seq < VALUES(seq), {newer}, {renewed})
            END
            WHEN VALUES(token) IS NOT NULL AND VALUES(created) IS NOT NULL
                AND state = 'pending' AND attempt <= VALUES(attempt) THEN {begun}
            ELSE {left_alone}
        END
        ELSE {left_alone}
    END,
    attempt = IF(fate >= {newer}, VALUES(attempt), attempt),
    seq = IF(fate >= {newer}, VALUES(seq), seq),
    token = IF(fate = {begun}, VALUES(token), token),
    state = IF(fate >= {newer}, VALUES(state), state),
    kind = IF(fate >= {newer}, VALUES(kind), kind),
    body = IF(fate >= {newer}, VALUES(body), body),
    verdict = IF(fate = {begun}, NULL, verdict),
    lease = IF(fate, VALUES(lease), lease),
    heard_at = IF(fate, VALUES(heard_at), heard_at),
    expires_at = IF(fate, VALUES(expires_at), expires_at),
    opened_at = CASE
        WHEN fate = {begun} THEN VALUES(opened_at)
        WHEN fate THEN LEAST(opened_at, VALUES(opened_at))
        ELSE opened_at
    END,
    restored = IF(fate = {begun}, VALUES(restored), restored)
