-- Stores results, each only where what is stored is still what was read, and publishes that as Celery does. The parts of
-- a job are a hash beside its result, by name.
-- KEYS: the results, then the parts of each job that has some, in the same order.
-- ARGV: how many results there are; then for each: the SHA-1 of what was read ('' if nothing was), what is to be stored,
-- the milliseconds it lives (0 without an end), '1' to publish it, the channel for requests to cancel ('' for none),
-- whether the parts that are stored 'stay' or 'go' ('' where the job has none), and how many parts are stored now; then
-- for each of these: its name, what was read of it ('' if nothing was), and what is to be stored.
-- Returns the numbers of those that were not stored.
local failed, argument, owners = {}, 1, tonumber(ARGV[1])

local function take()
    argument = argument + 1
    return ARGV[argument]
end

-- The parts that come next: name, what was read, and what is to be stored of each.
local function take_parts(count)
    local parts = {}
    for number = 1, count do
        parts[number] = {take(), take(), take()}
    end
    return parts
end

local function are_unchanged(key, parts)
    for _, part in ipairs(parts) do
        if (redis.call('HGET', key, part[1]) or '') ~= part[2] then
            return false
        end
    end
    return true
end

local function store_parts(key, parts, fate, left)
    if fate == 'go' then
        redis.call('DEL', key)
    end
    for _, part in ipairs(parts) do
        redis.call('HSET', key, part[1], part[3])
    end
    if left ~= '0' then
        redis.call('PEXPIRE', key, left)
    end
end

for number = 1, tonumber(ARGV[1]) do
    local key, read, value, left = KEYS[number], take(), take(), take()
    local is_pushed, channel, fate = take() == '1', take(), take()
    local parts = take_parts(tonumber(take()))
    local beside
    if fate ~= '' then
        owners = owners + 1
        beside = KEYS[owners]
    end
    local stored = redis.call('GET', key)
    if (stored and redis.sha1hex(stored) or '') == read and (fate ~= 'stay' or are_unchanged(beside, parts)) then
        if left == '0' then
            redis.call('SET', key, value)
        else
            redis.call('SET', key, value, 'PX', left)
        end
        if beside then
            store_parts(beside, parts, fate, left)
        end
        if is_pushed then
            redis.call('PUBLISH', key, value)
        end
        if channel ~= '' then
            redis.call('PUBLISH', channel, '')
        end
    else
        failed[#failed + 1] = number
    end
end
return failed
