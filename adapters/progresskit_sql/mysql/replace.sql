INSERT INTO {table} ({columns}) VALUES {rows}
ON DUPLICATE KEY UPDATE {replaced}
