{now}, id, state, run, attempt, seq, cancel_requested, restored, born, opened_at, heard_at, lease, expires_at,
created, token, verdict, tally, parts_key, body
