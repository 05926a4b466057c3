printf(
    '%s %d %d %d %s %d %d %d %s',
    id, run, attempt, seq, state, cancel_requested, abs(:now - heard_at) >= lease, born, created
) || char(31) || coalesce(verdict, '') || char(31) || body
