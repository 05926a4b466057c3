INSERT INTO {table} AS stored ({columns})
VALUES {rows}
{upsert}
