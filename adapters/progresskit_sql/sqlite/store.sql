INSERT INTO {table} ({columns})
VALUES {rows}
ON CONFLICT (id) DO UPDATE SET {replaced}
