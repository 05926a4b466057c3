INSERT INTO {parts} ({part_columns})
SELECT *
FROM unnest(
    {each_parts_key}::bigint[], {each_digest}::bigint[], {each_token}, {each_state}, {each_weight}::integer[],
    {each_hundredths}::integer[], {each_opened_at}::double precision[], {each_restored}::boolean[]
)
ON CONFLICT (parts_key, digest) DO UPDATE SET ({part_columns}) = ({excluded_part})
