-- A job as it is stored, and as it travels.
--
-- A job is one hash. `head` is, in words: run, whether it is asked to stop, when the run was first heard of and behind an
-- '@' when the id was, attempt, seq, state, token, kind behind a '='. `life` is when it was last heard of, its lease, when
-- it expires, when the run began, in seconds since the epoch by the clock that judges, and 1 where no new start opened the
-- record. `body` and `verdict` are JSON, `tally` is the sums over the parts. Few fields, because each costs time in the
-- way into Lua and out of it, and memory. What is not known is '-', but of a kind, a verdict and a tally nothing.
--
-- KEYS: the index by when jobs were heard of, the index by when they expire, then hashes of jobs.
-- ARGV: what to do, the clock or '', the command that publishes, what a channel has after the key; then see ACTIONS.

local HEAD = '^(%d+) (%d) (%S+) (%d+) (%d+) (%l+) (%S+) (.*)$'
local LIFE = '^(%S+) (%S+) (%S+) (%S+) (%d)$'
local FINAL = {succeeded = true, failed = true, cancelled = true}
local SKEW = 2 -- SKEW_SECONDS of progresskit.progress
local LONGEST = 1e15 -- milliseconds; what Redis adds the present time to must not overflow

local publish, suffix = ARGV[3], ARGV[4]
local base = string.sub(KEYS[1], 1, -6) -- without ':jobs'
local now = tonumber(ARGV[2])
if not now then
    local time = redis.call('TIME')
    now = time[1] + time[2] / 1e6
end

local function key_of(id)
    return base .. ':job:' .. id
end

local function id_of(key)
    return string.sub(key, #base + 6)
end

local function milliseconds(seconds)
    return string.format('%.0f', math.min(math.max(math.ceil(seconds * 1000), 1), LONGEST))
end

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

local function precedes(moment, opened)
    return moment < opened and opened <= now + SKEW
end

-- The sums over the parts of a job, in words: the fields of progresskit.parts.Tally in that order, then into how many
-- hashes its parts are divided, when these were begun, and until when they are kept.
local TALLY = {
    'run_token', 'size', 'weight', 'declared', 'declared_at', 'declarations', 'sum', 'succeeded', 'failed', 'cancelled',
    'running', 'changes', 'started_at', 'heard_at', 'lease', 'finished_at', 'hashes', 'begun', 'kept_until',
}

local function exact(number)
    return number and string.format('%.17g', number) or '-'
end

local function tally_of(text)
    local tally, number = {}, 0
    for word in string.gmatch(text, '%S+') do
        number = number + 1
        if word ~= '-' then
            tally[TALLY[number]] = word
        end
    end
    for _, name in ipairs(TALLY) do
        if name ~= 'run_token' and name ~= 'declared' then
            tally[name] = tonumber(tally[name])
        end
    end
    return number == #TALLY and tally or nil
end

local function tally_text(tally)
    local words = {}
    for number, name in ipairs(TALLY) do
        local value = tally[name]
        words[number] = type(value) == 'string' and value or exact(value)
    end
    return table.concat(words, ' ')
end

-- The job of a key; nil where there is none, or it has expired. Then also whether the key holds no job, maybe not even a
-- hash: that must not fail the call for the other jobs, and the next write replaces it.
local function look(key)
    local found = redis.pcall('HMGET', key, 'head', 'life', 'body', 'verdict', 'tally')
    if found.err and not string.find(found.err, 'WRONGTYPE', 1, true) then
        redis.call('HMGET', key, 'head') -- raises it
    elseif not found.err and not found[1] and not found[2] then
        return nil, false
    end
    local run, cancel, created, attempt, seq, state, token, kind = string.match(found[1] or '', HEAD)
    local heard, lease, expires, opened, restored = string.match(found[2] or '', LIFE)
    local job = {
        key = key, run = tonumber(run), cancel = cancel, created = created, attempt = tonumber(attempt),
        seq = tonumber(seq), state = state, token = token, kind = kind, heard = tonumber(heard), lease = tonumber(lease),
        expires = tonumber(expires), opened = tonumber(opened), restored = restored == '1', body = found[3] or nil,
        verdict = found[4] or '',
    }
    if found[5] and found[5] ~= '' then
        job.tally = tally_of(found[5])
    end
    if not (job.run and job.heard and job.lease and job.expires and job.opened and job.body) then
        return nil, true
    elseif job.expires <= now then
        return nil, false
    end
    return job
end

local function head_of(job)
    return string.format(
        '%.0f %s %s %.0f %.0f %s %s %s',
        job.run, job.cancel, job.created, job.attempt, job.seq, job.state, job.token, job.kind
    )
end

-- All fields at once, and no DEL before: a script that has written is not refused for lack of memory.
local function store(job)
    local life = string.format(
        '%.6f %s %.6f %.6f %d', job.heard, exact(job.lease), job.expires, job.opened, job.restored and 1 or 0
    )
    local tally = job.tally and tally_text(job.tally) or ''
    redis.call(
        'HSET', job.key, 'head', head_of(job), 'life', life, 'body', job.body, 'verdict', job.verdict, 'tally', tally
    )
end

-- Whether the lease of a running job has run out. A time ahead of the clock is of before the clock was set back. A job
-- that has parts and no worker depends on the parts.
local function is_stalled(job)
    local heard, lease = job.heard, job.lease
    if job.token == '-' and job.tally then
        if job.tally.running == 0 then
            return false
        end
        heard, lease = job.tally.heard_at, job.tally.lease
    end
    return job.state == 'running' and math.abs(now - heard) >= lease
end

-- A job in one text: the id, whether it is stalled, the head; the tally of its parts; the verdict; the body. JSON holds no
-- control characters.
local function packed(job)
    local head = string.format('%s %d %s', id_of(job.key), is_stalled(job) and 1 or 0, head_of(job))
    return table.concat({head, job.tally and tally_text(job.tally) or '', job.verdict, job.body}, '\31')
end

-- Publish to subscribers. A cluster before Redis 7 has no channels of a shard.
local function push(channel, message)
    local answer = redis.pcall(publish, channel .. suffix, message)
    if type(answer) == 'table' and answer.err then
        redis.call('PUBLISH', channel .. suffix, message)
    end
end
