-- The fields of the indexes that a write changes, and when the last of them expires.
local by_heard, by_expires, last = {}, {}, 0

-- Store a job, and note it for the indexes.
local function keep(job)
    store(job)
    redis.call('PEXPIRE', job.key, milliseconds(job.expires - now))
    local place, id = #by_heard + 1, id_of(job.key)
    by_heard[place], by_heard[place + 1] = string.format('%.6f', now), id
    by_expires[place], by_expires[place + 1] = string.format('%.6f', job.expires), id
    last = math.max(last, job.expires)
end

-- Store the indexes for as long as what is in them, and drop what has expired by now.
local function index()
    if #by_heard == 0 then
        return
    end
    redis.call('ZADD', KEYS[1], unpack(by_heard))
    redis.call('ZADD', KEYS[2], unpack(by_expires))
    local gone = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now), 'LIMIT', 0, #by_heard + 20)
    if #gone > 0 then
        redis.call('ZREM', KEYS[1], unpack(gone))
        redis.call('ZREM', KEYS[2], unpack(gone))
    end
    local left = milliseconds(last - now)
    if redis.call('PTTL', KEYS[1]) < tonumber(left) then
        redis.call('PEXPIRE', KEYS[1], left)
        redis.call('PEXPIRE', KEYS[2], left)
    end
end

-- Which process serves: another one may not have all that was written to the one before.
local function home()
    local info = redis.pcall('INFO', 'server')
    return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
end

local ACTIONS = {}

-- Fold writes and reports in. KEYS: the jobs that are written, then those of which parts report.
-- ARGV: how many jobs are written, then for each its write in words and its body; then for each job of which parts report
-- the body of its record if there is none, how many reports these are, and the reports. Returns which process serves, the
-- runs that are stored, and the tokens of the runs that have parts, '-' for the others; a line of words each.
function ACTIONS.write()
    local runs, tokens, place = {}, {}, 6
    local written = tonumber(ARGV[5]) + 2
    for number = 3, written do
        local key = KEYS[number]
        local before, is_broken = look(key)
        local write = write_of(key, ARGV[place], ARGV[place + 1])
        local job = fold(before, write)
        if job then
            if is_broken then
                redis.call('DEL', key)
            end
            job.heard, job.lease, job.expires = now, write.lease, now + write.ttl
            if job.tally then
                keep_parts(job, write.ttl)
            end
            keep(job)
            push(key, packed(job))
        end
        local stored = job or before
        runs[#runs + 1] = string.format('%.0f', stored.run)
        tokens[#tokens + 1] = stored.tally and stored.tally.run_token or '-'
        place = place + 2
    end
    for number = written + 1, #KEYS do
        local key, body, reports = KEYS[number], ARGV[place], tonumber(ARGV[place + 1])
        local job, is_broken = look(key)
        local state, taken = job and job.state, false
        for offset = 2, reports + 1 do
            local report = report_of(ARGV[place + offset])
            job = job or undeclared(key, report, body)
            taken = fold_report(job, report) or taken
        end
        if taken then
            if is_broken then
                redis.call('DEL', key)
            end
            keep(job)
            if not state or state ~= job.state and FINAL[job.state] then
                push(key, packed(job))
            end
        end
        tokens[#tokens + 1] = taken and job.tally.run_token or '-'
        place = place + 2 + reports
    end
    index()
    return table.concat({home(), table.concat(runs, ' '), table.concat(tokens, ' ')}, '\n')
end

-- Call a function with each of the jobs that are there; returns what it returns that is not nil.
local function of_each(act)
    local found = {}
    for number = 3, #KEYS do
        local job = look(KEYS[number])
        found[#found + 1] = job and act(job) or nil
    end
    return found
end

-- KEYS: jobs. Returns those there are, packed.
function ACTIONS.read()
    return of_each(packed)
end

-- KEYS: jobs. Returns the ids of those that are asked to stop.
function ACTIONS.asked()
    return of_each(function(job)
        return job.cancel == '1' and id_of(job.key)
    end)
end

-- KEYS: jobs. Ask them to stop, and notify their viewers and workers; returns the ids of those that are not done.
function ACTIONS.cancel()
    return of_each(function(job)
        if FINAL[job.state] then
            return nil
        end
        local id = id_of(job.key)
        job.cancel = '1'
        settle(job)
        store(job)
        push(base .. ':cancel:' .. id, id)
        push(job.key, packed(job))
        return id
    end)
end

-- KEYS: jobs. Delete those that are done or stalled, and their entries in the indexes; returns their ids.
function ACTIONS.forget()
    return of_each(function(job)
        if not (FINAL[job.state] or is_stalled(job)) then
            return nil
        end
        local id = id_of(job.key)
        delete_parts(job)
        redis.call('DEL', job.key)
        redis.call('ZREM', KEYS[1], id)
        redis.call('ZREM', KEYS[2], id)
        return id
    end)
end

-- One page of the index by when jobs were heard of, those heard of last first. ARGV: the first of the page, its length,
-- '=' and the kind or '', the states in words or '', a text that the body must contain or ''. Returns how many ids the page
-- has, then when it was heard of and the packed job of each that is there and wanted.
function ACTIONS.list()
    local kind, states, text = ARGV[7], ' ' .. ARGV[8] .. ' ', ARGV[9]
    local ids = redis.call('ZREVRANGE', KEYS[1], ARGV[5], ARGV[5] + ARGV[6] - 1)
    local page = {#ids}
    for _, id in ipairs(ids) do
        local job = look(key_of(id))
        if
            job and (kind == '' or kind == job.kind) and string.find(job.body, text, 1, true)
            and (ARGV[8] == '' or string.find(states, ' ' .. job.state .. ' ', 1, true))
        then
            page[#page + 1] = string.format('%.6f', job.heard)
            page[#page + 1] = packed(job)
        end
    end
    return page
end

return ACTIONS[ARGV[1]]()
