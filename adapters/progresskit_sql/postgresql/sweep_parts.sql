-- Of the records that have expired first; what somebody else is about to begin again is left to them.
DELETE FROM {parts}
WHERE (parts_key, digest) IN (
    SELECT part.parts_key, part.digest
    FROM (
        SELECT parts_key
        FROM {table}
        WHERE id = ANY(ARRAY(
                SELECT id
                FROM {table}
                WHERE expires_minute <= floor({now} / 60)::bigint
                ORDER BY expires_minute
                LIMIT 500
            ))
            AND parts_key IS NOT NULL
            AND expires_minute <= floor({now} / 60)::bigint
        FOR UPDATE SKIP LOCKED
    ) AS gone
    JOIN {parts} AS part USING (parts_key)
    LIMIT %(limit)s
)
RETURNING 1
