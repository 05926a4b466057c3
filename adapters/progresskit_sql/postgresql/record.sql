id, run, attempt, seq, state, cancel_requested, abs({now} - heard_at) >= lease, created, verdict, body, born
