-- KEYS: the hashes of jobs. ARGV: the clock or '', the length of a key before the id. Returns the ids of those that are
-- asked to stop.

local now = clock(ARGV[1])
local asked = {}
for _, key in ipairs(KEYS) do
    local head = look(key, now)
    if head and string.find(head, '^%d+ 1 ') then
        asked[#asked + 1] = string.sub(key, ARGV[2] + 1)
    end
end
return asked
