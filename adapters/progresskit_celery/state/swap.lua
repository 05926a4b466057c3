-- Stores results, each only where what is stored is still what was read, and publishes that as Celery does.
-- KEYS: the results. ARGV, for each: the SHA-1 of what was read ('' if nothing was), what is to be stored, the
-- milliseconds it lives (0 without an end), and the channel for requests to cancel ('' for none).
-- Returns the numbers of those that were not stored.
local failed = {}
for number, key in ipairs(KEYS) do
    local at = (number - 1) * 4
    local stored = redis.call('GET', key)
    if (stored and redis.sha1hex(stored) or '') == ARGV[at + 1] then
        if ARGV[at + 3] == '0' then
            redis.call('SET', key, ARGV[at + 2])
        else
            redis.call('SET', key, ARGV[at + 2], 'PX', ARGV[at + 3])
        end
        redis.call('PUBLISH', key, ARGV[at + 2])
        if ARGV[at + 4] ~= '' then
            redis.call('PUBLISH', ARGV[at + 4], '')
        end
    else
        failed[#failed + 1] = number
    end
end
return failed
