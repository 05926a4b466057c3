id, run, attempt, seq, state, cancel_requested, {now} - heard_at >= lease, created, verdict, body, born
