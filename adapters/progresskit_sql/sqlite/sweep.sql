DELETE FROM {table}
WHERE id IN (
    SELECT id
    FROM {table} AS gone
    WHERE expires_at <= :now AND NOT EXISTS (SELECT 1 FROM {parts} AS part WHERE part.parts_key = gone.parts_key)
    ORDER BY expires_at
    LIMIT :limit
)
