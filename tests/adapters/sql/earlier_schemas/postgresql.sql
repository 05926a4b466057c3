-- The two columns of minutes are what the indexes are on: as long as they stay the same, an update touches no index,
-- and the room that the pages leave lets the new row stand beside the old one.
CREATE TABLE IF NOT EXISTS progresskit_jobs (
    id               text COLLATE "C" PRIMARY KEY,
    role             text NOT NULL,     -- only processes of earlier releases need it
    run              bigint NOT NULL,
    attempt          bigint NOT NULL,
    seq              bigint NOT NULL,
    token            text,
    state            text NOT NULL,
    kind             text,
    cancel_requested boolean NOT NULL DEFAULT false,
    lease            double precision NOT NULL, -- seconds
    heard_at         double precision NOT NULL, -- seconds since the epoch, like expires_at
    expires_at       double precision NOT NULL,
    heard_minute     bigint NOT NULL GENERATED ALWAYS AS (floor(heard_at / 60)) STORED,
    expires_minute   bigint NOT NULL GENERATED ALWAYS AS (ceil(expires_at / 60)) STORED,
    created          text,              -- NULL as long as the body is the one that opened the run, '' if that had none
    verdict          text,
    body             text NOT NULL,
    opened_at        double precision NOT NULL DEFAULT 0, -- when the run began, or the external update was made
    restored         boolean NOT NULL DEFAULT false,      -- no new start opened the record
    born             bigint NOT NULL DEFAULT 0,           -- when the first run was created, in ms since the epoch
    tally            text,              -- the sums over the parts of the run; NULL where it has none
    parts_key        bigint             -- of the rows of these parts
) WITH (fillfactor = 50);

CREATE INDEX IF NOT EXISTS progresskit_jobs_by_heard ON progresskit_jobs (heard_minute);

CREATE INDEX IF NOT EXISTS progresskit_jobs_by_expires ON progresskit_jobs (expires_minute);

CREATE TABLE IF NOT EXISTS progresskit_parts (
    parts_key        bigint NOT NULL,           -- that of the row of their job
    digest           bigint NOT NULL,           -- of the name
    opened_at        double precision NOT NULL, -- when the newest start began, in seconds since the epoch
    weight           integer NOT NULL,
    hundredths       integer NOT NULL,          -- of a percent
    restored         boolean NOT NULL,          -- no start proves that it is the newest
    state            text NOT NULL,
    token            text,
    was_hundredths   integer,                   -- before the last report (see report.sql)
    was_state        text,
    PRIMARY KEY (parts_key, digest)
) WITH (fillfactor = 80);
