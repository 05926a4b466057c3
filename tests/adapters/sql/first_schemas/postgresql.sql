-- The two columns of minutes are what the indexes are on: as long as they stay the same, an update touches no index,
-- and the room that the pages leave lets the new row stand beside the old one.
CREATE TABLE IF NOT EXISTS progresskit_jobs (
    id               text COLLATE "C" PRIMARY KEY,
    role             text NOT NULL,     -- of the write that came last: start, update or word
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
    body             text NOT NULL
) WITH (fillfactor = 50);

CREATE INDEX IF NOT EXISTS progresskit_jobs_by_heard ON progresskit_jobs (heard_minute);

CREATE INDEX IF NOT EXISTS progresskit_jobs_by_expires ON progresskit_jobs (expires_minute);
