-- The parts of jobs: progresskit.parts.
--
-- Each of the hashes of a job maps the digest of a part's name to token, state, weight, hundredths, opened, and 1 where no
-- start proves that it is the newest.

local WHOLE = 10000
local PER_HASH = 96 -- so few fields are stored without a table of their own, in a third of the memory
local MOST_HASHES = 4096

local function new_tally(run_token, size)
    return {
        run_token = run_token, declared_at = 0, declarations = 0, sum = 0, succeeded = 0, failed = 0, cancelled = 0,
        running = 0, changes = 0, started_at = 0, heard_at = 0, lease = 0, finished_at = 0,
        hashes = math.min(math.max(math.ceil((size or 0) / PER_HASH), 1), MOST_HASHES), begun = now, kept_until = 0,
    }
end

-- The key of one of the hashes that hold the parts of a run.
local function parts_key(job, number)
    return string.format('%s/%s/%.0f', job.key, exact(job.tally.begun), number)
end

local function delete_parts(job)
    for number = 0, job.tally and job.tally.hashes - 1 or -1 do
        redis.call('DEL', parts_key(job, number))
    end
end

-- Keep the parts for as long as their parent: not at each report, since that would touch all their hashes.
local function keep_parts(job, ttl)
    local tally = job.tally
    if tally.kept_until >= now + ttl then
        return
    end
    tally.kept_until = now + 2 * ttl
    for number = 0, tally.hashes - 1 do
        redis.call('PEXPIRE', parts_key(job, number), milliseconds(2 * ttl))
    end
end

-- Add how many parts there are to the sums; return whether that has changed anything.
local function declare(job, declaration, began, late)
    local made = began + declaration.offset
    job.tally = job.tally or new_tally(declaration.token, declaration.size)
    local tally = job.tally
    if tally.declared == declaration.token or late and made < tally.declared_at then
        return false
    end
    tally.size = declaration.size or tally.size
    tally.weight = declaration.weight or tally.weight
    tally.declared, tally.declared_at = declaration.token, made
    tally.declarations, tally.changes = tally.declarations + 1, tally.changes + 1
    return true
end

-- Close the sums of a job that was ended from outside: progresskit.parts.closed.
local function close(tally, state)
    local running = tally.running
    local missing = math.max((tally.size or 0) - tally.succeeded - tally.failed - tally.cancelled - running, 0)
    if running + missing > 0 then
        tally.running, tally.changes = 0, tally.changes + 1
        tally[state] = tally[state] + running
        tally.cancelled = tally.cancelled + missing
    end
end

-- The final state that follows from the parts of a job without a worker, nil while it goes on.
local function end_of(tally, cancelling)
    if not tally.size or tally.running > 0 then
        return nil
    end
    local missing = tally.size - tally.succeeded - tally.failed - tally.cancelled
    if missing > 0 then
        if not cancelling then
            return nil
        end
        tally.cancelled, tally.changes = tally.cancelled + missing, tally.changes + 1
    end
    return tally.failed > 0 and 'failed' or tally.cancelled > 0 and 'cancelled' or 'succeeded'
end

-- Bring a job into the state that follows from its parts, if it has some and no worker.
local function settle(job)
    local tally = job.tally
    if job.token ~= '-' or not tally or FINAL[job.state] then
        return
    end
    local state = end_of(tally, job.cancel == '1')
    if state then
        job.state, job.seq, tally.finished_at = state, job.seq + 1, now
    elseif job.state == 'pending' and tally.declared and tally.started_at > 0 then
        job.state = 'running'
    end
end

local function part_of(text)
    local token, state, weight, hundredths, opened, restored =
        string.match(text or '', '^(%S+) (%l+) (%d+) (%d+) (%S+) (%d)$')
    return token and {
        token = token, state = state, weight = tonumber(weight), hundredths = tonumber(hundredths),
        opened = tonumber(opened), restored = restored == '1',
    }
end

local function part_text(part)
    return string.format(
        '%s %s %.0f %.0f %s %d',
        part.token, part.state, part.weight, part.hundredths, exact(part.opened), part.restored and 1 or 0
    )
end

-- Bring a part into the state after a report, by the rules of progresskit.parts.advanced.
local function advance(part, report)
    local began = now - report.age
    if part.state == 'succeeded' then
        return
    end
    part.hundredths = math.max(part.hundredths, report.hundredths)
    local takes_over
    if report.token == part.token then
        part.opened = math.min(part.opened, began)
        takes_over = not FINAL[part.state]
    elseif report.token == '-' then
        takes_over = not (FINAL[part.state] or precedes(began, part.opened))
    else
        local is_older = was_made_first(report.token, began, part.token, part.opened)
        if is_older == nil then
            takes_over = report.is_start and not (report.late and precedes(began, part.opened))
                or part.restored and began > part.opened
        else
            takes_over = (report.is_start or part.restored) and not is_older
        end
        if takes_over then
            part.token, part.opened, part.restored = report.token, began, report.late or not report.is_start
        end
    end
    if takes_over then
        part.state = report.state
        part.hundredths = report.state == 'succeeded' and WHOLE or part.hundredths
    end
end

-- Add a part to the sums, or take it away.
local function add(tally, part, sign)
    tally.sum = tally.sum + sign * part.weight * part.hundredths
    local count = FINAL[part.state] and part.state or 'running'
    tally[count] = tally[count] + sign
end

-- Fold a report into the part and the sums.
local function count(job, report)
    local tally = job.tally
    local hash = parts_key(job, report.hash % tally.hashes)
    local before = part_of(redis.call('HGET', hash, report.digest))
    local after = before or {
        token = report.token, state = 'running', weight = report.weight, hundredths = 0, opened = now - report.age,
        restored = report.late or not report.is_start,
    }
    local state, hundredths = after.state, after.hundredths
    if before then
        add(tally, after, -1)
    end
    advance(after, report)
    add(tally, after, 1)
    if not before or state ~= after.state or hundredths ~= after.hundredths then
        tally.changes = tally.changes + 1
    end
    redis.call('HSET', hash, report.digest, part_text(after))
    if not before then
        redis.call('PEXPIRE', hash, milliseconds(tally.kept_until - now))
    end
    local set_back = tally.heard_at - now >= tally.lease + SKEW
    tally.heard_at = set_back and now or math.max(now, tally.heard_at)
    tally.lease = math.max(report.lease, tally.lease)
    if after.token ~= '-' and tally.started_at == 0 then
        tally.started_at = after.opened
    end
end
