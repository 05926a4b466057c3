printf(
    '%s %s %d %d %d %d %d %d %.6f %.6f %.6f %.6f',
    id, state, run, attempt, seq, cancel_requested, restored, born, opened_at, heard_at, lease, expires_at
) || char(31) || coalesce('=' || created, '') || char(31) || coalesce('=' || token, '') || char(31)
|| coalesce(parts_key, '') || ' ' || coalesce(tally, '') || char(31) || coalesce(verdict, '') || char(31) || body
