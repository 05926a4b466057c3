-- KEYS: the hashes of jobs. ARGV: the clock or '', the length of a key before the id. Returns those there are, packed.

local now = clock(ARGV[1])
local found = {}
for _, key in ipairs(KEYS) do
    local head, heard, lease, _, _, tally = look(key, now)
    if head then
        found[#found + 1] = stored(key, string.sub(key, ARGV[2] + 1), stalls(now, heard, lease, head, tally), head)
    end
end
return found
