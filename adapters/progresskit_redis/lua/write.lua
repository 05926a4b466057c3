-- The fold of progresskit.progress for some jobs, and for the parts of some, which are of one slot.
--
-- KEYS: the index by when jobs were heard of, the index by when they expire, then the hash of each job that is written,
-- then that of each job of which parts report.
-- ARGV: the clock or '', the command that publishes, what a channel has after the key, the length of a key before the
-- id, how many jobs are written, whether tokens are to be returned, then for each job that is written its head (role, run, lease, ttl, age, whether it is late, when it was
-- created, how many parts it declares or '-', attempt, seq, state, token, kind, in words) and its body; then for each job
-- of which parts report the body of its record if there is none, how many reports these are, and the reports (see REPORT).
-- Returns the runs that are stored, in words; on a second line the tokens of the runs with parts of each job that was
-- written, and of each that took a report, '-' for the others.

local publish, suffix, before, written = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])

-- Fold a write in. Returns the run that is stored then, the tally of its parts, the head and the life of what was taken or
-- renewed; and the body where it is the only text of the job.
local function fold(key, text, body)
    local role, run, lease, ttl, age, late, created, declaration, own, attempt, seq, state, token =
        string.match(text, WRITE)
    local head, _, _, opened, restored, tally = look(key, now)
    local began = now - age
    local known = {}
    local older = opened and began < opened and opened <= now + SKEW
    late = late == '1'
    if head then
        known.run, known.cancel, known.created, known.own, known.attempt, known.seq, known.state, known.token, known.kind =
            string.match(head, HEAD)
        if not known.run then
            redis.call('DEL', key) -- it holds no job, maybe not even a hash
            head = nil
        end
    end

    -- The head of a job after a change of how many parts it has, which is stored.
    local function declared(new, sums)
        new = settled(new, sums, now)
        keep(key, sums, now, tonumber(ttl))
        tally = text_of(sums)
        redis.call('HSET', key, 'tally', tally)
        return new
    end

    local function put(new, opened, restored)
        local life = life_of(lease, ttl)
        redis.call('HSET', key, 'head', new, 'life', lived(life, opened, restored), 'body', body)
        return new, life, not tally and body or nil
    end

    -- Make the write the whole of what is stored; in the same run, some of what is there stays.
    local function open(new_run, same_run)
        local born = known.created and string.match(known.created, '@(%d+)$') or not head and created or '0'
        local kept = same_run and known.cancel .. ' ' .. known.created or '0 ' .. created_at(body) .. '@' .. born
        local unproven = late or role == 'update' or role == 'word' and FINAL[state]
        if tally and not same_run then
            delete_parts(key, tally_of(tally))
            tally = nil
        end
        local new, life, only = put(new_run .. ' ' .. kept .. ' ' .. own, began, unproven)
        -- No DEL before it: a script that has written is not refused for lack of memory.
        redis.call('HDEL', key, 'verdict', not same_run and 'tally' or 'verdict')
        if declaration ~= '-' then
            local sums = tally and tally_of(tally) or first_tally(declaration, nil, now)
            declare(sums, declaration, began, late)
            new, only = declared(new, sums), nil
            redis.call('HSET', key, 'head', new)
        end
        return new_run, new, life, only
    end

    -- Keep what is stored, and that it was heard of.
    local function renew(new, opened)
        local life = life_of(lease, ttl)
        redis.call('HSET', key, 'head', new, 'life', lived(life, opened, restored))
        return known.run, new, life
    end

    if role == 'declare' then
        if not head or FINAL[known.state] then
            local repeated = tally and string.match(tally, '^%S+ %S+ %S+ (%S+)') == string.match(declaration, '^[^,]+')
            if head and (repeated or late and older) then
                return known.run
            end
            return open(head and string.format('%.0f', known.run + 1) or '1')
        end
        local run_token = known.token ~= '-' and known.token or nil
        local sums = tally and tally_of(tally) or first_tally(declaration, run_token, now)
        if not declare(sums, declaration, began, late) then
            return renew(head, opened)
        end
        if known.token ~= '-' then
            return renew(declared(head, sums), opened)
        end
        local new = declared(head, sums)
        if string.find(declaration, ',1$') then
            return renew(new, opened)
        end
        return known.run, put(new, opened, restored)
    elseif role == 'word' then
        if not head then
            return open('1')
        elseif state == 'pending' and known.state == 'pending' then
            return renew(head, math.min(opened, began))
        elseif state == 'pending' or FINAL[known.state] then
            return known.run
        elseif older and (late or known.state ~= 'pending') then
            return known.run
        end
        redis.call('HSET', key, 'verdict', body)
        if tally then
            local sums = tally_of(tally)
            close(sums, state)
            tally = text_of(sums)
            redis.call('HSET', key, 'tally', tally)
        end
        local next_seq = string.format('%.0f', known.seq + 1)
        return renew(table.concat(
            {known.run, known.cancel, known.created, known.attempt, next_seq, state, known.token, known.kind}, ' '
        ), math.min(opened, began))
    elseif not head then
        return open(run)
    end

    local newer = attempt - known.attempt
    if known.token == token then
        newer = newer ~= 0 and newer or seq - known.seq
        if newer == 0 then
            return renew(head, math.min(opened, began))
        elseif newer < 0 or FINAL[known.state] then
            return known.run
        end
        local same = known.run .. ' ' .. known.cancel .. ' ' .. known.created .. ' ' .. own
        if declaration ~= '-' then
            -- It is repeated with each record, so that another one that was made since must not be undone.
            local sums = tally and tally_of(tally) or first_tally(declaration, nil, now)
            declare(sums, declaration, began, true)
            same = declared(same, sums)
        end
        return known.run, put(same, math.min(opened, began), restored)
    end

    local waited = (known.state == 'pending' or known.state == 'running' and known.token == '-') and newer >= 0
    local retries = newer > 0 and not FINAL[known.state]
    local takes_over
    if role == 'dequeue' and known.state == 'cancelled' and known.cancel == '1' and (known.token == '-' or newer > 0) then
        takes_over = false -- the task was cancelled while it waited for this attempt
    elseif role == 'start' or role == 'dequeue' then
        local is_older
        if not retries then
            is_older = was_made_first(token, began, known.token, opened)
        end
        if is_older == nil then
            is_older = late and older
        end
        takes_over = waited or not is_older
    else
        local is_older = was_made_first(token, began, known.token, opened)
        local follows
        if is_older == nil then
            follows = began > opened
        else
            follows = not is_older
        end
        takes_over = waited and not (late and older) or restored and follows
    end
    if not takes_over then
        return known.run
    elseif waited or retries then
        return open(known.run, true)
    end
    return open(string.format('%.0f', math.max(run, known.run + 1)))
end

-- Fold the reports of parts of one job in. Returns its head, when it expires, whether viewers are to be notified, and the
-- sums; nil where no report adds anything.
local function fold_reports(key, body, texts)
    local head, heard_at, lease, opened, restored, tally, expires = look(key, now)
    local sums = tally and tally_of(tally)
    local known = head and string.match(head, HEAD) and head
    local taken, begun, ended, ttl = false, false, false, 0
    for _, text in ipairs(texts) do
        local report = report_of(text)
        local began = now - report.age
        if not known then
            if head then
                redis.call('DEL', key) -- it holds no job, maybe not even a hash
            end
            known = '1 0 ' .. created_at(body) .. '@' .. report.created .. ' 1 0 pending - '
            heard_at, lease, opened, restored, expires = heard, exact(report.lease), began, false, now
            begun, sums = true, nil
        end
        local _, _, _, _, _, _, state, token = string.match(known, HEAD)
        local first = 'external'
        for _, candidate in ipairs({report.token, report.run_token, token}) do
            first = candidate ~= '-' and candidate or first
        end
        local run_token = sums and sums.run_token or first
        local is_other = report.run_token ~= '-' and report.run_token ~= run_token
        if not FINAL[state] and not is_other then
            sums = sums or new_tally(run_token, nil, now)
            if report.ttl > ttl then
                ttl = report.ttl
                keep(key, sums, now, ttl)
            end
            count(key, sums, report, now)
            local changed
            known, changed = settled(known, sums, now)
            ended, taken = ended or changed, true
        end
    end
    if not taken then
        return nil
    end
    expires = math.max(expires, math.max(now, tonumber(heard_at)) + ttl)
    redis.call('HSET', key, 'head', known, 'tally', text_of(sums), 'life', string.format(
        '%s %s %.6f %.6f %s', heard_at, lease, expires, opened, restored and '1' or '0'
    ))
    if begun then
        redis.call('HSET', key, 'body', body)
        redis.call('HDEL', key, 'verdict')
    end
    return known, expires, begun or ended, sums
end

local runs, tokens, by_heard, by_expires, longest = {}, {}, {}, {}, 0

local function note(key, expires, left)
    local id, count = string.sub(key, before + 1), #by_heard
    redis.call('PEXPIRE', key, string.format('%.0f', left))
    by_heard[count + 1], by_heard[count + 2] = heard, id
    by_expires[count + 1], by_expires[count + 2] = expires, id
    longest = math.max(longest, left)
    return id
end

for number = 3, written + 2 do
    local key = KEYS[number]
    local run, head, life, body = fold(key, ARGV[2 * number + 1], ARGV[2 * number + 2])
    if head then
        local id = note(key, life.expires, life.left)
        push(publish, key .. suffix, body and packed(id, '0', head, nil, body) or stored(key, id, '0', head))
    end
    runs[#runs + 1] = run
end

local place = 2 * written + 7
for number = written + 3, #KEYS do
    local key, body, count = KEYS[number], ARGV[place], tonumber(ARGV[place + 1])
    local reports = {}
    for offset = 1, count do
        reports[offset] = ARGV[place + 1 + offset]
    end
    place = place + 2 + count
    local head, expires, changed, sums = fold_reports(key, body, reports)
    if head then
        local left = math.min(math.max(math.ceil((expires - now) * 1000), 1), LONGEST)
        local id = note(key, string.format('%.6f', expires), left)
        if changed then
            push(publish, key .. suffix, stored(key, id, '0', head))
        end
    end
    tokens[number - 2] = head and sums.run_token or '-'
end
if longest > 0 then
    index(by_heard, by_expires, longest)
end
if ARGV[6] == '0' then
    return table.concat(runs, ' ')
end
for number = 1, written do
    local tally = redis.call('HGET', KEYS[number + 2], 'tally')
    tokens[number] = tally and string.match(tally, '^%S+') or '-'
end
return table.concat(runs, ' ') .. '\n' .. table.concat(tokens, ' ')
