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
local SKEW = 2 -- SKEW_SECONDS of progresskit.progress
local LONGEST = 1e15 -- milliseconds; what Redis adds the present time to must not overflow

-- Whether a start was made before another one, nil where their tokens do not say it: was_made_first of
-- progresskit.start_tokens. Lua compares texts by the locale of the server, so here it is done by the character codes.
local function was_made_first(token, began, other, opened)
    if #token ~= 18 or #other ~= 18 or string.sub(token, 1, 4) ~= string.sub(other, 1, 4) then
        return nil
    elseif math.abs(began - opened) >= 60 then
        return nil
    end
    for place = 5, 18 do
        local one, two = string.byte(token, place), string.byte(other, place)
        if one ~= two then
            return one < two
        end
    end
    return false
end

-- The seconds since the epoch: of a clock that was given, or else of the server.
local function clock(given)
    if given ~= '' then
        return tonumber(given)
    end
    local time = redis.call('TIME')
    return time[1] + time[2] / 1e6
end

-- Three fields of a hash; a key of another type must not fail the call for the other jobs.
local function fields(key, one, two, three)
    local found = redis.pcall('HMGET', key, one, two, three)
    if not found.err then
        return found[1], found[2], found[3]
    elseif not string.find(found.err, 'WRONGTYPE', 1, true) then
        redis.call('HMGET', key, one, two, three) -- raises it
    end
    return UNKNOWN, UNKNOWN, nil
end

-- The head of a job, when it was heard of, its lease, when the run began, whether no new start opened the record, the
-- tally of its parts, and when it expires; nil where there is none, or it has expired. A key that holds no job has the head UNKNOWN: viewers cannot decode that,
-- and the next write replaces it.
local function look(key, now)
    local head, life, tally = fields(key, 'head', 'life', 'tally')
    if not head then
        return nil
    end
    local heard, lease, expires, opened, restored = string.match(life or UNKNOWN, LIFE)
    if not (tonumber(heard) and tonumber(lease) and tonumber(expires)) then
        return UNKNOWN, now, '0', 0, false, nil, now
    elseif tonumber(expires) <= now then
        return nil
    end
    return head, heard, lease, tonumber(opened) or 0, restored == '1', tally or nil, tonumber(expires)
end

-- A job in one text: the id, whether it is stalled, the head; the tally of its parts; the verdict; the body. JSON holds no
-- control characters.
local function packed(id, stalled, head, verdict, body, tally)
    return table.concat({id, stalled, table.concat({head, tally or '', verdict or '', body}, '\31')}, ' ')
end

local function stored(key, id, stalled, head)
    local verdict, body, tally = fields(key, 'verdict', 'body', 'tally')
    return packed(id, stalled, head, verdict, body or UNKNOWN, tally)
end

-- Whether a lease has run out: '1' or '0'. A time ahead of the clock is of before the clock was set back. A job that has
-- parts and no worker depends on the parts; see the fields of a tally in parts.lua.
local UNOWNED = '^%d+ %d %S+ %d+ %d+ %l+ %- '
local PARTS_HEARD = '^' .. string.rep('%S+ ', 10) .. '(%S+) %S+ %S+ (%S+) (%S+)'
local function stalls(now, heard, lease, head, tally)
    if tally and string.find(head, UNOWNED) then
        local running
        running, heard, lease = string.match(tally, PARTS_HEARD)
        if running == '0' then
            return '0'
        end
    end
    return math.abs(now - heard) >= tonumber(lease) and '1' or '0'
end

-- Publish to subscribers. A cluster before Redis 7 has no channels of a shard.
local function push(command, channel, message)
    if command == 'PUBLISH' then
        return redis.call(command, channel, message)
    end
    local answer = redis.pcall(command, channel, message)
    if type(answer) == 'table' and answer.err then
        return redis.call('PUBLISH', channel, message)
    end
end
