-- The fold of progresskit.progress for some jobs, which are of one slot.
--
-- KEYS: the index by when jobs were heard of, the index by when they expire, then the hash of each job.
-- ARGV: the clock or '', the command that publishes, what a channel has after the key, the length of a key before the
-- id, then for each job its head (role, run, lease, ttl, age, whether it is late, when it was created, attempt, seq,
-- state, token, kind, in words) and its body.
-- Returns the runs that are stored, in words.

local WRITE = '^(%l+) (%d+) (%S+) (%S+) (%S+) (%d) (%d+) ((%d+) (%d+) (%l+) (%S+) .*)$'
local SKEW = 2 -- SKEW_SECONDS of progresskit.progress
local LONGEST = 1e15 -- milliseconds; what Redis adds the present time to must not overflow

local now = clock(ARGV[1])
local publish, suffix, before = ARGV[2], ARGV[3], tonumber(ARGV[4])
local heard = string.format('%.6f', now)

-- When what is written now expires: most jobs of a batch have the same lease and ttl.
local lives = {}
local function life_of(lease, ttl)
    local name = lease .. ' ' .. ttl
    local life = lives[name]
    if not life then
        local expires = string.format('%.6f', now + ttl)
        local left = math.min(math.max(math.ceil(ttl * 1000), 1), LONGEST)
        life = {text = heard .. ' ' .. lease .. ' ' .. expires, expires = expires, left = left}
        lives[name] = life
    end
    return life
end

-- The life of a job whose run began then.
local function lived(life, opened, restored)
    return life.text .. string.format(' %.6f ', opened) .. (restored and '1' or '0')
end

-- When the record of a body was made. It is the last of that name in the text, whatever meta and result hold.
local function created_at(body)
    local created = string.match(body, '.*"created_at":("?[^",}]*)')
    return created and string.match(created, '^"([%w:.+-]+)$') or '-'
end

-- Fold a write in. Returns the run that is stored then, and the head and the life of what was taken or renewed; and the
-- body where it is the only text of the job.
local function fold(key, text, body)
    local role, run, lease, ttl, age, late, created, own, attempt, seq, state, token = string.match(text, WRITE)
    local head, _, _, opened, restored = look(key, now)
    local began = now - age
    local known = {}
    local older = opened and began < opened and opened <= now + SKEW
    late = late == '1'
    if head then
        known.run, known.cancel, known.created, known.own, known.attempt, known.seq, known.state, known.token, known.kind =
            string.match(head, HEAD)
        if not known.run then
            redis.call('DEL', key) -- it holds no job, maybe not even a hash
            head = nil
        end
    end

    local function put(new, opened, restored)
        local life = life_of(lease, ttl)
        redis.call('HSET', key, 'head', new, 'life', lived(life, opened, restored), 'body', body)
        return new, life, body
    end

    -- Make the write the whole of what is stored; in the same run, some of what is there stays.
    local function open(new_run, same_run)
        local born = known.created and string.match(known.created, '@(%d+)$') or not head and created or '0'
        local kept = same_run and known.cancel .. ' ' .. known.created or '0 ' .. created_at(body) .. '@' .. born
        local unproven = late or role == 'update' or role == 'word' and FINAL[state]
        local new, life = put(new_run .. ' ' .. kept .. ' ' .. own, began, unproven)
        redis.call('HDEL', key, 'verdict') -- no DEL before it: a script that has written is not refused for lack of memory
        return new_run, new, life, body
    end

    -- Keep what is stored, and that it was heard of.
    local function renew(new, opened)
        local life = life_of(lease, ttl)
        redis.call('HSET', key, 'head', new, 'life', lived(life, opened, restored))
        return known.run, new, life
    end

    if role == 'word' then
        if not head then
            return open('1')
        elseif state == 'pending' and known.state == 'pending' then
            return renew(head, math.min(opened, began))
        elseif state == 'pending' or FINAL[known.state] then
            return known.run
        elseif older and (late or known.state ~= 'pending') then
            return known.run
        end
        redis.call('HSET', key, 'verdict', body)
        local next_seq = string.format('%.0f', known.seq + 1)
        return renew(table.concat(
            {known.run, known.cancel, known.created, known.attempt, next_seq, state, known.token, known.kind}, ' '
        ), math.min(opened, began))
    elseif not head then
        return open(run)
    end

    local newer = attempt - known.attempt
    if known.token == token then
        newer = newer ~= 0 and newer or seq - known.seq
        if newer == 0 then
            return renew(head, math.min(opened, began))
        elseif newer < 0 or FINAL[known.state] then
            return known.run
        end
        local same = known.run .. ' ' .. known.cancel .. ' ' .. known.created .. ' ' .. own
        return known.run, put(same, math.min(opened, began), restored)
    end

    local waited = known.state == 'pending' and newer >= 0
    local takes_over
    if role == 'start' then
        takes_over = not late or waited or not older
    else
        takes_over = waited and not (late and older) or restored and began > opened
    end
    if not takes_over then
        return known.run
    elseif waited or newer > 0 and not FINAL[known.state] then
        return open(known.run, true)
    end
    return open(string.format('%.0f', math.max(run, known.run + 1)))
end

-- Keep the indexes for as long as what is in them, and drop what has expired by now.
local function index(by_heard, by_expires, longest)
    redis.call('ZADD', KEYS[1], unpack(by_heard))
    redis.call('ZADD', KEYS[2], unpack(by_expires))
    local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', heard, 'LIMIT', 0, #by_heard + 20)
    if #gone > 0 then
        redis.call('ZREM', KEYS[1], unpack(gone))
        redis.call('ZREM', KEYS[2], unpack(gone))
    end
    for number = 1, 2 do
        if redis.call('PTTL', KEYS[number]) < longest then
            redis.call('PEXPIRE', KEYS[number], string.format('%.0f', longest))
        end
    end
end

local runs, by_heard, by_expires, longest = {}, {}, {}, 0
for number = 3, #KEYS do
    local key = KEYS[number]
    local run, head, life, body = fold(key, ARGV[2 * number - 1], ARGV[2 * number])
    if head then
        local id, count = string.sub(key, before + 1), #by_heard
        redis.call('PEXPIRE', key, string.format('%.0f', life.left))
        tell(publish, key .. suffix, body and packed(id, '0', head, nil, body) or stored(key, id, '0', head))
        by_heard[count + 1], by_heard[count + 2] = heard, id
        by_expires[count + 1], by_expires[count + 2] = life.expires, id
        longest = math.max(longest, life.left)
    end
    runs[#runs + 1] = run
end
if longest > 0 then
    index(by_heard, by_expires, longest)
end
return table.concat(runs, ' ')
