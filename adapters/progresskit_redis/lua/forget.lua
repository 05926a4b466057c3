-- KEYS: the index by when jobs were heard of, the index by when they expire, then the hash of each job.
-- ARGV: the clock or '', the length of a key before the id. Deletes the jobs that are done or stalled; returns their ids.

local now = clock(ARGV[1])
local gone = {}
for number = 3, #KEYS do
    local key = KEYS[number]
    local head, heard, lease, _, _, tally = look(key, now)
    local state = head and string.match(head, '^%S+ %S+ %S+ %S+ %S+ (%l+) ')
    if state and (FINAL[state] or (state == 'running' and stalls(now, heard, lease, head, tally) == '1')) then
        local id = string.sub(key, ARGV[2] + 1)
        redis.call('DEL', key)
        if tally then
            delete_parts(key, tally_of(tally))
        end
        redis.call('ZREM', KEYS[1], id)
        redis.call('ZREM', KEYS[2], id)
        gone[#gone + 1] = id
    end
end
return gone
