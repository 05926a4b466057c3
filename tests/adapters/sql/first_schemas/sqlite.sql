CREATE TABLE IF NOT EXISTS progresskit_jobs (
    id               TEXT PRIMARY KEY NOT NULL,
    run              INTEGER NOT NULL,
    attempt          INTEGER NOT NULL,
    seq              INTEGER NOT NULL,
    token            TEXT,
    state            TEXT NOT NULL,
    kind             TEXT,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    lease            REAL NOT NULL,  -- seconds
    heard_at         REAL NOT NULL,  -- seconds since the epoch, like expires_at
    expires_at       REAL NOT NULL,
    created          TEXT,           -- NULL as long as the body is the one that opened the run, '' if that one had none
    verdict          TEXT,
    body             TEXT NOT NULL
);

CREATE INDEX IF NOT EXISTS progresskit_jobs_by_heard_at ON progresskit_jobs (heard_at);

CREATE INDEX IF NOT EXISTS progresskit_jobs_by_expires_at ON progresskit_jobs (expires_at);
