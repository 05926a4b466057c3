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
    body             TEXT NOT NULL,
    opened_at        REAL NOT NULL DEFAULT 0,    -- when the run began, or the external update was made
    restored         INTEGER NOT NULL DEFAULT 0, -- 1 where no new start opened the record
    born             INTEGER NOT NULL DEFAULT 0, -- when the first run was created, in milliseconds since the epoch
    tally            TEXT,                       -- the sums over the parts of the run; NULL where it has none
    parts_key        INTEGER                     -- of the rows of these parts
);

CREATE INDEX IF NOT EXISTS progresskit_jobs_by_heard_at ON progresskit_jobs (heard_at);

CREATE INDEX IF NOT EXISTS progresskit_jobs_by_expires_at ON progresskit_jobs (expires_at);

CREATE TABLE IF NOT EXISTS progresskit_parts (
    parts_key        INTEGER NOT NULL,           -- that of the row of their job
    digest           INTEGER NOT NULL,           -- of the name
    token            TEXT,
    state            TEXT NOT NULL,
    weight           INTEGER NOT NULL,
    hundredths       INTEGER NOT NULL,           -- of a percent
    opened_at        REAL NOT NULL,              -- when the newest start began, in seconds since the epoch
    restored         INTEGER NOT NULL,           -- 1 where no start proves that it is the newest
    was_state        TEXT,                       -- before the last report that report.sql has stored
    was_hundredths   INTEGER,
    batch            INTEGER,                    -- of that report
    PRIMARY KEY (parts_key, digest)
) WITHOUT ROWID;
