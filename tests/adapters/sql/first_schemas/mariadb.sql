CREATE TABLE IF NOT EXISTS progresskit_jobs (
    id               VARCHAR(128) NOT NULL,
    fate             TINYINT NOT NULL,           -- what became of the last write
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
    PRIMARY KEY (id),
    KEY by_heard_at (heard_at),
    KEY by_expires_at (expires_at)
) ENGINE = InnoDB, DEFAULT CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin
