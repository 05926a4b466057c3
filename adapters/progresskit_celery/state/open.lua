-- Stores the only record of a run in one step: the fold, where it is simple.
-- KEYS: the result. ARGV: the time ('' for the server's), the JSON of the result before and after the head of the
-- record, and what the head is made of: see opening.py.
-- Returns the run; nil, and stores nothing, where what is stored is of another kind.
local RECORD = '^{"status": "PROGRESS", "result": "%[(%d+),(%d+),%d+,([^,]+),\\"(%l+)\\",([^,]+),(%l+),[^,]+,[^,]+,'
    .. '([^,]+),[^,]+,%l+,(%d+),null%]\\n\\n'
local OPENING = '^(%d+) (%d+) (%d+) ([%w_-]+) (%l+) (%d+) (%S+) (%S+) (%S+)$'
local CREATED = '^[^,]+,\\"created_at\\":(\\"[^,]+),'
local FINAL = {succeeded = true, failed = true, cancelled = true}

local function quoted(text)
    return '\\"' .. text .. '\\"' -- in a string of JSON
end

local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] + time[2] / 1e6
end

local run, attempt, seq, token, state, born, lease, ttl, age = string.match(ARGV[4], OPENING)
token = quoted(token)
local created, cancelling
local stored = redis.call('GET', KEYS[1])
if not stored then
    local _, name = string.find(ARGV[3], '\\t' .. quoted('parent') .. ':', 1, true) -- which follows a tab in a body
    created, cancelling = string.match(ARGV[3], CREATED, (name or 0) + 1), 'false'
    if not created then
        return nil
    end
else
    local its_attempt, its_token, its_state, expires
    run, its_attempt, its_token, its_state, created, cancelling, expires, born = string.match(stored, RECORD)
    if not run or now >= tonumber(expires) or its_token == token or FINAL[its_state] then
        return nil
    end
    local newer = attempt - its_attempt
    if newer < 0 or newer == 0 and its_state ~= 'pending' then
        return nil
    end
end

local head = string.format(
    '[%s,%s,%s,%s,\\"%s\\",%s,%s,%.17g,%s,%.17g,%.17g,false,%s,null]',
    run, attempt, seq, token, state, created, cancelling, now, lease, now + ttl, now - age, born
)
local value = ARGV[2] .. head .. ARGV[3]
redis.call('SET', KEYS[1], value, 'PX', string.format('%.0f', math.max(math.ceil(ttl * 1000), 1)))
redis.call('PUBLISH', KEYS[1], value)
return tonumber(run)
