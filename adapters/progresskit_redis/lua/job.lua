-- What the other scripts begin with: a job as it is stored, and as it travels.
--
-- A job is one hash. `head` is, in words: run, whether it is asked to stop, when the run was first heard of and behind an
-- '@' when the id was, attempt, seq, state, token, kind behind a '='; from the attempt on, it is as the writer sent it.
-- `life` is when it was last heard of, its lease, when it expires, when the run began, and 1 where no new start opened
-- the record, in seconds since the epoch by the clock that judges. An earlier version left out what is behind the '@',
-- and the last two. `body` and `verdict` are JSON. Few fields, because each costs time in the way into Lua and out of
-- it, and memory. What is not known is '-', but of a kind nothing.

local HEAD = '^(%d+) (%d) (%S+) ((%d+) (%d+) (%l+) (%S+) (.*))$'
local LIFE = '^(%S+) (%S+) (%S+) ?(%S*) ?(%d?)'
local UNKNOWN = '?'
local FINAL = {succeeded = true, failed = true, cancelled = true}

-- The seconds since the epoch: of a clock that was given, or else of the server.
local function clock(given)
    if given ~= '' then
        return tonumber(given)
    end
    local time = redis.call('TIME')
    return time[1] + time[2] / 1e6
end

-- Two fields of a hash; a key of another type must not fail the call for the other jobs.
local function fields(key, one, other)
    local found = redis.pcall('HMGET', key, one, other)
    if not found.err then
        return found[1], found[2]
    elseif not string.find(found.err, 'WRONGTYPE', 1, true) then
        redis.call('HMGET', key, one, other) -- raises it
    end
    return UNKNOWN, UNKNOWN
end

-- The head of a job, when it was heard of, its lease, when the run began, and whether no new start opened the record;
-- nil where there is none, or it has expired. A key that holds no job has the head UNKNOWN: viewers cannot decode that,
-- and the next write replaces it.
local function look(key, now)
    local head, life = fields(key, 'head', 'life')
    if not head then
        return nil
    end
    local heard, lease, expires, opened, restored = string.match(life or UNKNOWN, LIFE)
    if not (tonumber(heard) and tonumber(lease) and tonumber(expires)) then
        return UNKNOWN, now, '0', 0, false
    elseif tonumber(expires) <= now then
        return nil
    end
    return head, heard, lease, tonumber(opened) or 0, restored == '1'
end

-- A job in one text: the id, whether it is stalled, the head; the verdict; the body. JSON holds no control characters.
local function packed(id, stalled, head, verdict, body)
    return table.concat({id, stalled, head .. '\31' .. (verdict or '') .. '\31' .. body}, ' ')
end

local function stored(key, id, stalled, head)
    local verdict, body = fields(key, 'verdict', 'body')
    return packed(id, stalled, head, verdict, body or UNKNOWN)
end

-- A time ahead of the clock is of before the clock was set back.
local function stalls(now, heard, lease)
    return math.abs(now - heard) >= tonumber(lease) and '1' or '0'
end

-- Tell whoever listens. A cluster before Redis 7 has no channels of a shard.
local function tell(command, channel, message)
    if command == 'PUBLISH' then
        return redis.call(command, channel, message)
    end
    local answer = redis.pcall(command, channel, message)
    if type(answer) == 'table' and answer.err then
        return redis.call('PUBLISH', channel, message)
    end
end
