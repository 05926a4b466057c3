-- The fold of progresskit.progress, function by function; each that folds returns the job after the write, nil where the
-- write is ignored.

-- A write in words: role, run, lease, ttl, age, whether it is late, when it was created, how many parts it declares or
-- '-', attempt, seq, state, token, kind.
local WRITE = '^(%l+) (%d+) (%S+) (%S+) (%S+) (%d) (%d+) (%S+) (%d+) (%d+) (%l+) (%S+) (.*)$'

-- Token, size, weight, seconds since the run began, and 1 where the texts of the job stay.
local DECLARATION = '^([^,]+),([^,]+),([^,]+),([^,]+),(%d)$'

local function write_of(key, text, body)
    local write, run, late, attempt, seq, declaration = {key = key, body = body}, nil, nil, nil, nil, nil
    write.role, run, write.lease, write.ttl, write.age, late, write.created, declaration, attempt, seq, write.state,
        write.token, write.kind = string.match(text, WRITE)
    write.run, write.attempt, write.seq, write.late = tonumber(run), tonumber(attempt), tonumber(seq), late == '1'
    write.lease, write.ttl, write.age = tonumber(write.lease), tonumber(write.ttl), tonumber(write.age)
    if declaration ~= '-' then
        local token, size, weight, offset, keeps = string.match(declaration, DECLARATION)
        write.declaration = {
            token = token, size = tonumber(size), weight = tonumber(weight), offset = tonumber(offset),
            keeps_texts = keeps == '1',
        }
    end
    return write
end

-- When the record of a body was made. It is the last of that name in the text, whatever meta and result hold.
local function created_at(body)
    local created = string.match(body, '.*"created_at":("?[^",}]*)')
    return created and string.match(created, '^"([%w:.+-]+)$') or '-'
end

local function awaits(job, write)
    local waits = job.state == 'pending' or job.state == 'running' and job.token == '-'
    return waits and job.attempt <= write.attempt
end

local function retries(job, write)
    return not FINAL[job.state] and job.attempt < write.attempt
end

local function was_withdrawn(job, write)
    return (job.token == '-' or job.attempt < write.attempt) and job.state == 'cancelled' and job.cancel == '1'
end

local function follows(job, token, began)
    local is_older = was_made_first(token, began, job.token, job.opened)
    if is_older == nil then
        return began > job.opened
    end
    return not is_older
end

local function takes_over(job, write, began)
    local is_late = write.late and precedes(began, job.opened)
    if write.role == 'dequeue' and was_withdrawn(job, write) then
        return false
    elseif write.role == 'start' or write.role == 'dequeue' then
        local is_older
        if not retries(job, write) then
            is_older = was_made_first(write.token, began, job.token, job.opened)
        end
        if is_older == nil then
            is_older = is_late
        end
        return awaits(job, write) or not is_older
    end
    return awaits(job, write) and not is_late or job.restored and follows(job, write.token, began)
end

-- The job that a write opens; `before` is what was stored, `same` whether its run goes on.
local function opened(before, write, run, began, same)
    local created = string.format(
        '%s@%s', created_at(write.body), before and string.match(before.created, '@(%d+)$') or write.created
    )
    local job = {
        key = write.key, run = run, cancel = same and before.cancel or '0', created = same and before.created or created,
        attempt = write.attempt, seq = write.seq, state = write.state, token = write.token, kind = write.kind,
        opened = began, body = write.body, verdict = '', tally = same and before.tally or nil,
        restored = write.late or write.role == 'update' or write.role == 'word' and FINAL[write.state] or false,
    }
    if before and not same then
        delete_parts(before)
    end
    if write.declaration then
        declare(job, write.declaration, began, write.late)
    end
    return job
end

local function fold_external(job, write, made)
    if not job then
        return opened(nil, write, 1, made)
    elseif write.state == 'pending' then
        if job.state ~= 'pending' then
            return nil
        end
    elseif FINAL[job.state] or precedes(made, job.opened) and (job.state ~= 'pending' or write.late) then
        return nil
    else
        job.seq, job.state, job.verdict = job.seq + 1, write.state, write.body
        if job.tally then
            close(job.tally, write.state)
        end
    end
    job.opened = math.min(job.opened, made)
    return job
end

local function fold_owner(job, write, began)
    local newer = write.attempt - job.attempt
    if newer == 0 then
        newer = write.seq - job.seq
    end
    if newer < 0 or newer ~= 0 and FINAL[job.state] then
        return nil
    end
    job.opened = math.min(job.opened, began)
    if newer ~= 0 then
        job.attempt, job.seq, job.state, job.kind, job.body = write.attempt, write.seq, write.state, write.kind, write.body
        if write.declaration then
            -- It is repeated with each record, so that another one that was made since must not be undone.
            declare(job, write.declaration, began, true)
        end
    end
    return job
end

local function fold_declaration(job, write, made)
    if not job or FINAL[job.state] then
        local is_repeated = job and job.tally and job.tally.declared == write.declaration.token
        if is_repeated or job and write.late and precedes(made, job.opened) then
            return nil
        end
        job = opened(job, write, job and job.run + 1 or 1, made)
        settle(job)
        return job
    end
    if not job.tally and job.token ~= '-' then
        job.tally = new_tally(job.token, write.declaration.size)
    end
    if declare(job, write.declaration, made, write.late) then
        if job.token == '-' and not write.declaration.keeps_texts then
            job.body, job.kind = write.body, write.kind
        end
        settle(job)
    end
    return job
end

local function fold(job, write)
    local began = now - write.age
    if write.role == 'word' then
        return fold_external(job, write, began)
    elseif write.role == 'declare' then
        return fold_declaration(job, write, began)
    elseif not job then
        return opened(nil, write, write.run, began)
    elseif job.token == write.token then
        return fold_owner(job, write, began)
    elseif not takes_over(job, write, began) then
        return nil
    elseif awaits(job, write) or retries(job, write) then
        return opened(job, write, job.run, began, true)
    end
    return opened(job, write, math.max(write.run, job.run + 1), began)
end

-- A report in words: a hash and a digest of the name of the part, token, token of the run, state, weight, hundredths, lease,
-- ttl, age, whether it is a start, whether it is late, when it was created.
local REPORT = '^(%d+) (%x+) (%S+) (%S+) (%l+) (%d+) (%d+) (%S+) (%S+) (%S+) (%d) (%d) (%d+)$'

local function report_of(text)
    local report, is_start, late = {}, nil, nil
    report.hash, report.digest, report.token, report.run_token, report.state, report.weight, report.hundredths,
        report.lease, report.ttl, report.age, is_start, late, report.created = string.match(text, REPORT)
    report.is_start, report.late = is_start == '1', late == '1'
    for _, name in ipairs({'hash', 'weight', 'hundredths', 'lease', 'ttl', 'age'}) do
        report[name] = tonumber(report[name])
    end
    return report
end

-- The job of which no more is known than that it has this part.
local function undeclared(key, report, body)
    return {
        key = key, run = 1, cancel = '0', created = created_at(body) .. '@' .. report.created, attempt = 1, seq = 0,
        state = 'pending', token = '-', kind = '', heard = now, lease = report.lease, expires = now,
        opened = now - report.age, restored = false, body = body, verdict = '',
    }
end

-- Fold a report in; returns whether it is of this run.
local function fold_report(job, report)
    local run_token = job.tally and job.tally.run_token
    for _, token in ipairs({job.token, report.run_token, report.token, 'external'}) do
        run_token = run_token or token ~= '-' and token
    end
    if FINAL[job.state] or report.run_token ~= '-' and report.run_token ~= run_token then
        return false
    end
    job.tally = job.tally or new_tally(run_token)
    keep_parts(job, report.ttl)
    count(job, report)
    settle(job)
    job.expires = math.max(job.expires, math.max(now, job.heard) + report.ttl)
    return true
end
