CREATE TABLE IF NOT EXISTS progresskit_jobs (
    id               VARCHAR(128) NOT NULL,
    fate             TINYINT NOT NULL,           -- what became of the last write of a worker (see write.sql)
    run              BIGINT NOT NULL,
    attempt          BIGINT NOT NULL,
    seq              BIGINT NOT NULL,
    token            VARBINARY(255),
    state            VARCHAR(16) NOT NULL,
    kind             TEXT,
    cancel_requested TINYINT NOT NULL DEFAULT 0,
    lease            DOUBLE NOT NULL,            -- seconds
    heard_at         DOUBLE NOT NULL,            -- seconds since the epoch, like expires_at
    expires_at       DOUBLE NOT NULL,
    created          VARCHAR(64),
    verdict          LONGTEXT,
    body             LONGTEXT NOT NULL,
    opened_at        DOUBLE NOT NULL DEFAULT 0,  -- when the run began, or the external update was made
    restored         TINYINT NOT NULL DEFAULT 0, -- 1 where no new start opened the record
    born             BIGINT NOT NULL DEFAULT 0,  -- when the first run was created, in milliseconds since the epoch
    tally            TEXT,                       -- the sums over the parts of the run; NULL where it has none
    parts_key        BIGINT,                     -- of the rows of these parts
    PRIMARY KEY (id),
    KEY by_heard_at (heard_at),
    KEY by_expires_at (expires_at)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin;

CREATE TABLE IF NOT EXISTS progresskit_parts (
    parts_key        BIGINT NOT NULL,            -- that of the row of their job
    digest           BIGINT NOT NULL,            -- of the name
    token            VARBINARY(255),
    state            VARCHAR(16) NOT NULL,
    weight           INT NOT NULL,
    hundredths       INT NOT NULL,               -- of a percent
    opened_at        DOUBLE NOT NULL,            -- when the newest start began, in seconds since the epoch
    restored         TINYINT NOT NULL,           -- 1 where no start proves that it is the newest
    PRIMARY KEY (parts_key, digest)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin;
