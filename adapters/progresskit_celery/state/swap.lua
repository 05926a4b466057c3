-- Stores results, each only where what is stored is still what was read, and publishes that as Celery does. The parts of
-- a job are a hash beside its result, by name.
-- KEYS: the results, then the parts of each job that has some, in the same order.
-- ARGV: how many results there are; '1' to store either all or none of them; then for each: the SHA-1 of what was read
-- ('' if nothing was), what is to be stored, the milliseconds it lives (0 without an end), '1' to publish it, the channel
-- for requests to cancel ('' for none), whether the parts that are stored 'stay' or 'go' ('' where the job has none), and
-- how many parts are stored now; then for each of these: its name, what was read of it ('' if nothing was), and what is
-- to be stored.
-- Returns the time, as two numbers, and the numbers of those results that were not as they were read.
local swaps, failed, argument, owners = {}, {}, 2, tonumber(ARGV[1])

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

local function is_unchanged(swap)
    local stored = redis.call('GET', swap.key)
    return (stored and redis.sha1hex(stored) or '') == swap.read
        and (swap.fate ~= 'stay' or are_unchanged(swap.beside, swap.parts))
end

local function store(swap)
    if swap.left == '0' then
        redis.call('SET', swap.key, swap.value)
    else
        redis.call('SET', swap.key, swap.value, 'PX', swap.left)
    end
    if swap.beside then
        store_parts(swap.beside, swap.parts, swap.fate, swap.left)
    end
    if swap.is_pushed then
        redis.call('PUBLISH', swap.key, swap.value)
    end
    if swap.channel ~= '' then
        redis.call('PUBLISH', swap.channel, '')
    end
end

for number = 1, tonumber(ARGV[1]) do
    local swap = {key = KEYS[number], read = take(), value = take(), left = take()}
    swap.is_pushed, swap.channel, swap.fate = take() == '1', take(), take()
    swap.parts = take_parts(tonumber(take()))
    if swap.fate ~= '' then
        owners = owners + 1
        swap.beside = KEYS[owners]
    end
    if is_unchanged(swap) then
        swaps[#swaps + 1] = swap
    else
        failed[#failed + 1] = number
    end
end
if #failed == 0 or ARGV[2] ~= '1' then
    for _, swap in ipairs(swaps) do
        store(swap)
    end
end
local time = redis.call('TIME') -- after the writes: some versions refuse a write after it
return {time[1], time[2], unpack(failed)}
