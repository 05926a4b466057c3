-- The sums over the parts of a job: progresskit.parts, for one job of a script's keys.
--
-- The field `tally` of a job's hash holds the fields of progresskit.parts.Tally in that order, then into how many hashes
-- its parts are divided, when these were begun, and until when they are kept; '-' is None. Each of these hashes maps the
-- digest of a part's name to token, state, weight, hundredths, opened, and 1 where no start proves that it is the newest.

local WHOLE = 10000
local FIELDS = {
    'run_token', 'size', 'weight', 'declared', 'declared_at', 'declarations', 'sum', 'succeeded', 'failed', 'cancelled',
    'running', 'changes', 'started_at', 'heard_at', 'lease', 'finished_at', 'hashes', 'begun', 'kept_until',
}
local TEXTS = {run_token = true, declared = true}
local PER_HASH = 96 -- so few fields are stored without a table of their own, in a third of the memory
local MOST_HASHES = 4096

local function exact(number)
    return number and string.format('%.17g', number) or '-'
end

local function tally_of(text)
    local tally, number = {}, 0
    for word in string.gmatch(text, '%S+') do
        number = number + 1
        local name = FIELDS[number]
        if word ~= '-' then
            tally[name] = TEXTS[name] and word or tonumber(word)
        end
    end
    return tally
end

local function text_of(tally)
    local words = {}
    for number, name in ipairs(FIELDS) do
        words[number] = TEXTS[name] and (tally[name] or '-') or exact(tally[name])
    end
    return table.concat(words, ' ')
end

local function new_tally(run_token, size, now)
    local hashes = math.min(math.max(math.ceil((size or 0) / PER_HASH), 1), MOST_HASHES)
    return {
        run_token = run_token, declared_at = 0, declarations = 0, sum = 0, succeeded = 0, failed = 0, cancelled = 0,
        running = 0, changes = 0, started_at = 0, heard_at = 0, lease = 0, finished_at = 0, hashes = hashes, begun = now, kept_until = 0,
    }
end

-- The key of one of the hashes that hold the parts of a run.
local function parts_key(key, tally, number)
    return string.format('%s/%s/%.0f', key, exact(tally.begun), number)
end

local function delete_parts(key, tally)
    for number = 0, tally.hashes - 1 do
        redis.call('DEL', parts_key(key, tally, number))
    end
end

-- Token, size, weight, seconds since the run began, and 1 where the texts of the job stay.
local DECLARATION = '^([^,]+),([^,]+),([^,]+),([^,]+),(%d)$'

-- The tally of a run that a declaration begins, or of one that began before with that token.
local function first_tally(declaration, run_token, now)
    local token, size = string.match(declaration, DECLARATION)
    return new_tally(run_token or token, tonumber(size), now)
end

-- A declaration of how many parts there are; whether it has changed anything.
local function declare(tally, declaration, began, late)
    local token, size, weight, offset = string.match(declaration, DECLARATION)
    local made = began + offset
    if tally.declared == token or late and made < tally.declared_at then
        return false
    end
    tally.size = tonumber(size) or tally.size
    tally.weight = tonumber(weight) or tally.weight
    tally.declared, tally.declared_at = token, made
    tally.declarations, tally.changes = tally.declarations + 1, tally.changes + 1
    return true
end

-- The sums of a job that was ended from outside: progresskit.parts.closed.
local function close(tally, state)
    local running = tally.running
    local missing = math.max((tally.size or 0) - tally.succeeded - tally.failed - tally.cancelled - running, 0)
    if running + missing > 0 then
        tally.running, tally.changes = 0, tally.changes + 1
        tally[state] = tally[state] + running
        tally.cancelled = tally.cancelled + missing
    end
end

-- The final state of a job without a worker, nil while it goes on.
local function settle(tally, cancelling)
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

-- The head of a job in the state that follows from its parts, if it has no worker; and whether that is another one.
local function settled(head, tally, now)
    local run, cancel, created, _, attempt, seq, known, token, kind = string.match(head, HEAD)
    local state = known
    if token == '-' and not FINAL[known] then
        local ended = settle(tally, cancel == '1')
        if ended then
            state, seq, tally.finished_at = ended, string.format('%.0f', seq + 1), now
        elseif known == 'pending' and tally.declared and tally.started_at > 0 then
            state = 'running'
        end
    end
    return table.concat({run, cancel, created, attempt, seq, state, token, kind}, ' '), state ~= known
end

-- Add a part to the sums, or take it away.
local function add(tally, part, sign)
    tally.sum = tally.sum + sign * part.weight * part.hundredths
    local count = FINAL[part.state] and part.state or 'running'
    tally[count] = tally[count] + sign
end

local function part_of(text)
    local token, state, weight, hundredths, opened, restored =
        string.match(text, '^(%S+) (%l+) (%d+) (%d+) (%S+) (%d)$')
    return token and {
        token = token, state = state, weight = tonumber(weight), hundredths = tonumber(hundredths),
        opened = tonumber(opened), restored = restored == '1',
    }
end

local function in_state(part, state)
    part.state = state
    if state == 'succeeded' then
        part.hundredths = WHOLE
    end
    return part
end

-- The part after a report.
local function advanced(part, report, now)
    local began = now - report.age
    local unproven = report.late or not report.is_start
    if not part then
        return in_state({
            token = report.token, weight = report.weight, hundredths = report.hundredths, opened = began, restored = unproven,
        }, report.state)
    elseif part.state == 'succeeded' then
        return part
    end
    part.hundredths = math.max(part.hundredths, report.hundredths)
    if report.token == part.token then
        part.opened = math.min(part.opened, began)
        return FINAL[part.state] and part or in_state(part, report.state)
    end
    local precedes = began < part.opened and part.opened <= now + SKEW
    if report.token == '-' then
        return (FINAL[part.state] or precedes) and part or in_state(part, report.state)
    end
    local is_older, takes_over = was_made_first(report.token, began, part.token, part.opened)
    if is_older == nil then
        takes_over = report.is_start and not (report.late and precedes) or part.restored and began > part.opened
    else
        takes_over = (report.is_start or part.restored) and not is_older
    end
    if takes_over then
        part.token, part.opened, part.restored = report.token, began, unproven
        return in_state(part, report.state)
    end
    return part
end

local REPORT = '^(%d+) (%x+) (%S+) (%S+) (%l+) (%d+) (%d+) (%S+) (%S+) (%S+) (%d) (%d) (%d+)$'

local function report_of(text)
    local report = {}
    local is_start, late
    report.hash, report.digest, report.token, report.run_token, report.state, report.weight, report.hundredths,
        report.lease, report.ttl, report.age, is_start, late, report.created = string.match(text, REPORT)
    report.is_start, report.late = is_start == '1', late == '1'
    for _, name in ipairs({'hash', 'weight', 'hundredths', 'lease', 'ttl', 'age'}) do
        report[name] = tonumber(report[name])
    end
    return report
end

-- Fold a report into the part and the sums.
local function count(key, tally, report, now)
    local hash = parts_key(key, tally, report.hash % tally.hashes)
    local text = redis.call('HGET', hash, report.digest)
    local before = text and part_of(text) or nil
    local was = before and {weight = before.weight, hundredths = before.hundredths, state = before.state}
    local after = advanced(before, report, now)
    redis.call('HSET', hash, report.digest, string.format(
        '%s %s %.0f %.0f %s %d', after.token, after.state, after.weight, after.hundredths, exact(after.opened),
        after.restored and 1 or 0
    ))
    if not text then
        redis.call('PEXPIRE', hash, string.format('%.0f', math.max(math.ceil((tally.kept_until - now) * 1000), 1)))
    end
    local set_back = tally.heard_at - now >= tally.lease + SKEW
    tally.heard_at = set_back and now or math.max(now, tally.heard_at)
    tally.lease = math.max(report.lease, tally.lease)
    if not was or was.state ~= after.state or was.hundredths ~= after.hundredths then
        if was then
            add(tally, was, -1)
        end
        add(tally, after, 1)
        tally.changes = tally.changes + 1
    end
    if after.token ~= '-' and tally.started_at == 0 then
        tally.started_at = after.opened
    end
end

-- Keep the parts for as long as their parent: not at each report, since that would touch all their hashes.
local function keep(key, tally, now, ttl)
    if tally.kept_until >= now + ttl then
        return
    end
    tally.kept_until = now + 2 * ttl
    local left = string.format('%.0f', math.min(math.max(math.ceil(2 * ttl * 1000), 1), LONGEST))
    for number = 0, tally.hashes - 1 do
        redis.call('PEXPIRE', parts_key(key, tally, number), left)
    end
end
