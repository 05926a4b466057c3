-- Ask jobs to stop, and notify their viewers and workers.
--
-- KEYS: the hash of each job, then its channel of requests. ARGV: the clock or '', the command that publishes, what a
-- channel has after the key, the length of a key before the id. Returns the ids of those that are known and not done.

local now = clock(ARGV[1])
local accepted = {}
for number = 1, #KEYS, 2 do
    local key = KEYS[number]
    local head, heard, lease, _, _, tally = look(key, now)
    local run, rest, state
    if head then
        run, rest, state = string.match(head, '^(%d+) %d (%S+ %d+ %d+ (%l+) .*)$')
    end
    if state and not FINAL[state] then
        local id = string.sub(key, ARGV[4] + 1)
        local asked = run .. ' 1 ' .. rest
        if tally then
            local sums = tally_of(tally)
            asked = settled(asked, sums, now)
            tally = text_of(sums)
            redis.call('HSET', key, 'tally', tally)
        end
        redis.call('HSET', key, 'head', asked)
        push(ARGV[2], KEYS[number + 1] .. ARGV[3], id)
        push(ARGV[2], key .. ARGV[3], stored(key, id, stalls(now, heard, lease, asked, tally), asked))
        accepted[#accepted + 1] = id
    end
end
return accepted
