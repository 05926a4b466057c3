-- KEYS: any. Returns which process serves it; another one may not have all that was written to the one before.

local info = redis.pcall('INFO', 'server')
return type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
