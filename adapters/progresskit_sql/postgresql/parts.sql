SELECT jobs.id, part.digest, part.token, part.state, part.weight, part.hundredths, part.opened_at, part.restored
FROM unnest(%(ids)s::text[], %(digests)s::bigint[]) AS asked (id, digest)
JOIN {table} AS jobs ON jobs.id = asked.id
JOIN {parts} AS part ON part.parts_key = jobs.parts_key AND part.digest = asked.digest
