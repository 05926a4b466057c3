-- One page of the index by when jobs were heard of, those heard of last first.
--
-- KEYS: the index. ARGV: the clock or '', a key before the id, the first of the page, its length, '=' and the kind or '', the
-- states in words or '', a text that the record must contain or ''. Returns how many ids the page has, then when it was
-- heard of and the packed job of each that is there and wanted.

local now = clock(ARGV[1])
local wanted = {}
for state in string.gmatch(ARGV[6], '%a+') do
    wanted[state] = true
end
local ids = redis.call('ZREVRANGE', KEYS[1], ARGV[3], ARGV[3] + ARGV[4] - 1)
local page = {#ids}
for _, id in ipairs(ids) do
    local key = ARGV[2] .. id
    local head, heard, lease, _, _, tally = look(key, now)
    local state, kind
    if head then
        state, kind = string.match(head, '^%S+ %S+ %S+ %S+ %S+ (%S+) %S+ (.*)$')
    end
    if state and (ARGV[5] == '' or kind == ARGV[5]) and (ARGV[6] == '' or wanted[state]) then
        local job = stored(key, id, stalls(now, heard, lease, head, tally), head)
        if string.find(job, ARGV[7], 1, true) then
            page[#page + 1] = heard
            page[#page + 1] = job
        end
    end
end
return page
