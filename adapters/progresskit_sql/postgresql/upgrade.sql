ALTER TABLE {table}
    ADD COLUMN IF NOT EXISTS opened_at double precision NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS restored boolean NOT NULL DEFAULT false,
    ADD COLUMN IF NOT EXISTS born bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS tally text,
    ADD COLUMN IF NOT EXISTS parts_key bigint
