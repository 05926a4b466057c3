-- What the scripts that store jobs share: how long these live, when a record was made, and the indexes.
--
-- KEYS begin with the index by when jobs were heard of, and the index by when they expire; ARGV with the clock or ''.

-- A write in words: role, run, lease, ttl, age, whether it is late, when it was created, how many parts it declares or
-- '-', attempt, seq, state, token, kind.
local WRITE = '^(%l+) (%d+) (%S+) (%S+) (%S+) (%d) (%d+) (%S+) ((%d+) (%d+) (%l+) (%S+) .*)$'

local now = clock(ARGV[1])
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

-- Keep the indexes for as long as what is in them, and drop what has expired by now.
local function index(by_heard, by_expires, longest)
    redis.call('ZADD', KEYS[1], unpack(by_heard))
    redis.call('ZADD', KEYS[2], unpack(by_expires))
    local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', heard, 'LIMIT', 0, #by_heard + 20)
    if #gone > 0 then
        redis.call('ZREM', KEYS[1], unpack(gone))
        redis.call('ZREM', KEYS[2], unpack(gone))
    end
    if redis.call('PTTL', KEYS[1]) < longest then
        redis.call('PEXPIRE', KEYS[1], string.format('%.0f', longest))
        redis.call('PEXPIRE', KEYS[2], string.format('%.0f', longest))
    end
end
