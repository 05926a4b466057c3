-- Open the run of one job by its first record, which is its last as well where the job was short: the fold of write.lua
-- in the cases where it is simple, in half the time.
--
-- KEYS: the indexes, then the hash of the job. ARGV: the clock or '', the command that publishes, what a channel has
-- after the key, the length of a key before the id, then of the write of a start that is not late and declares no parts
-- the head and the body. Returns the run that is stored then; nil, and stores nothing, where write.lua has to decide.

local publish, suffix, before, body = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[6]
local key = KEYS[3]
local _, run, lease, ttl, age, _, created, _, own, attempt, _, _, token = string.match(ARGV[5], WRITE)
local head, _, _, _, _, tally = look(key, now)
local kept
if not head then
    kept = '0 ' .. created_at(body) .. '@' .. created
else
    local stored_run, cancel, stored_created, _, stored_attempt, _, state, stored_token = string.match(head, HEAD)
    if not stored_run or tally or stored_token == token then
        return nil
    end
    local newer = attempt - stored_attempt
    if newer < 0 or FINAL[state] or newer == 0 and state ~= 'pending' then
        return nil
    end
    run, kept = stored_run, cancel .. ' ' .. stored_created
end
local new, life = run .. ' ' .. kept .. ' ' .. own, life_of(lease, ttl)
redis.call('HSET', key, 'head', new, 'life', lived(life, now - age, false), 'body', body)
if not head then
    redis.call('HDEL', key, 'verdict', 'tally') -- of a job that has expired, and is not removed yet
end
redis.call('PEXPIRE', key, string.format('%.0f', life.left))
local id = string.sub(key, before + 1)
push(publish, key .. suffix, packed(id, '0', new, nil, body))
index({heard, id}, {life.expires, id}, life.left)
return run
