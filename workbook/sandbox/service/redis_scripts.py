"""What a store has Redis do in one piece, in Lua.

Each script gets the prefix of the store's keys, a token, and arguments of its own, and answers with a list: `ok` and a
number, or the reason why it did nothing. Who asks again with the same token, since the answer was lost with the
connection, gets the same answer, and nothing is done twice.
"""

from hashlib import sha1

_PRELUDE = """
local prefix, token = ARGV[1], ARGV[2]
local call = redis.call
local function key(kind, name) return prefix .. kind .. ':' .. name end

local done = call('GET', key('done', token))
if done then return {'ok', done} end
local function finish(number)
    call('SET', key('done', token), number, 'EX', 600)  -- longer than anybody goes on asking
    return {'ok', number}
end

-- Why nothing may be written to a session by one who believes in an epoch, or false.
local function refusal(session, epoch)
    local found = call('HMGET', key('session', session), 'epoch', 'closed')
    if not found[1] then return {'unknown'} end
    if found[2] == '1' then return {'closed'} end
    if found[1] ~= epoch then return {'epoch', found[1]} end
    return false
end

local function drop(session, blob)
    call('SREM', key('blobs', session), blob)
    call('SREM', key('holders', blob), session)
    if call('EXISTS', key('holders', blob)) == 0 then call('UNLINK', key('blob', blob)) end
end

-- Forgets what there is of a session besides its blobs.
local function forget(session, tenant, owner)
    call('SREM', prefix .. 'open', session)
    call('ZREM', prefix .. 'ended', session)
    call('SREM', key('tenant', tenant), session)
    call('SREM', key('owner', owner), session)
    call('UNLINK', key('session', session), key('log', session), key('last', session), key('blobs', session))
end

-- Redis' clock says when, so that the clocks of the nodes need not agree.
local function now()
    local time = call('TIME')
    return string.format('%d.%06d', time[1], time[2])
end
"""

_CREATE = """
local session, quota, tenant, owner, epoch, record = unpack(ARGV, 3)
if call('EXISTS', key('session', session)) == 1 then return {'exists'} end
if quota ~= '' and call('SCARD', key('tenant', tenant)) >= tonumber(quota) then return {'quota', quota} end
call('HSET', key('session', session), 'record', record, 'tenant', tenant, 'owner', owner, 'epoch', epoch,
    'closed', '0', 'length', '0')
call('SADD', prefix .. 'open', session)
call('SADD', key('tenant', tenant), session)
if owner ~= '' then call('SADD', key('owner', owner), session) end
return finish('0')
"""

_CLAIM = """
local session, epoch, owner = unpack(ARGV, 3)
local refused = refusal(session, epoch)
if refused then return refused end
call('SREM', key('owner', call('HGET', key('session', session), 'owner')), session)
if owner ~= '' then call('SADD', key('owner', owner), session) end
call('HSET', key('session', session), 'owner', owner)
call('HINCRBY', key('session', session), 'epoch', 1)
return finish('0')
"""

# After the epoch: how many blobs, their names, and of each event its kind, time, data and blobs.
_APPEND = """
local session, epoch, blobs = ARGV[3], ARGV[4], tonumber(ARGV[5])
local refused = refusal(session, epoch)
if refused then return refused end
for place = 6, 5 + blobs do
    if call('SISMEMBER', key('blobs', session), ARGV[place]) == 0 then return {'blob', ARGV[place]} end
end
local length = tonumber(call('HGET', key('session', session), 'length'))
local seq = length
for place = 6 + blobs, #ARGV, 4 do
    seq = seq + 1
    call('XADD', key('log', session), string.format('%d-0', seq), 'kind', ARGV[place], 'time', ARGV[place + 1],
        'data', ARGV[place + 2], 'blobs', ARGV[place + 3])
    call('HSET', key('last', session), ARGV[place], string.format('%d', seq))
end
call('HSET', key('session', session), 'length', string.format('%d', seq))
return finish(string.format('%d', length + 1))
"""

# The data comes in a second call, and only where the first one finds that it is not there.
_PUT = """
local session, blob, data = ARGV[3], ARGV[4], ARGV[5]
if call('EXISTS', key('session', session)) == 0 then return {'unknown'} end
if call('EXISTS', key('blob', blob)) == 0 then
    if not data then return {'absent'} end
    call('SET', key('blob', blob), data)
end
call('SADD', key('blobs', session), blob)
call('SADD', key('holders', blob), session)
return finish('0')
"""

_DROP = """
local session, epoch = ARGV[3], ARGV[4]
local refused = refusal(session, epoch)
if refused then return refused end
for place = 5, #ARGV do drop(session, ARGV[place]) end
return finish('0')
"""

_CLOSE = """
local session, epoch = ARGV[3], ARGV[4]
local found = call('HMGET', key('session', session), 'closed', 'owner', 'tenant')
if not found[1] then return {'unknown'} end
if found[1] == '1' then return finish('0') end
if epoch ~= '' then
    local refused = refusal(session, epoch)
    if refused then return refused end
end
call('HSET', key('session', session), 'closed', '1', 'owner', '')
call('HINCRBY', key('session', session), 'epoch', 1)
call('SREM', prefix .. 'open', session)
call('ZADD', prefix .. 'ended', now(), session)
call('SREM', key('tenant', found[3]), session)
call('SREM', key('owner', found[2]), session)
return finish('0')
"""

_DELETE = """
local session = ARGV[3]
local found = call('HMGET', key('session', session), 'tenant', 'owner')
if not found[1] then return {'unknown'} end
for _, blob in ipairs(call('SMEMBERS', key('blobs', session))) do drop(session, blob) end
forget(session, found[1], found[2])
return finish('0')
"""

# Its log is one key, which Redis takes away by and by; so only the blobs are a matter of how many.
_REMOVE = """
local latest, most = tonumber(now()) - tonumber(ARGV[3]), ARGV[4]
local session = call('ZRANGEBYSCORE', prefix .. 'ended', '-inf', string.format('%.6f', latest), 'LIMIT', 0, 1)[1]
if not session then return finish('0') end
local blobs = call('SRANDMEMBER', key('blobs', session), most)
for _, blob in ipairs(blobs) do drop(session, blob) end
if #blobs == 0 then forget(session, call('HGET', key('session', session), 'tenant'), '') end
return finish('1')
"""

_HEARTBEAT = """
local node, record = ARGV[3], ARGV[4]
call('HSET', prefix .. 'nodes', node, now() .. ' ' .. record)
return {'ok', '0'}
"""


class Script:
    """A script, and the name by which Redis knows it.

    Attributes:
        text: Its text.
        sha: The SHA-1 of its text.
    """

    def __init__(self, body: str) -> None:
        self.text = _PRELUDE + body
        self.sha = sha1(self.text.encode(), usedforsecurity=False).hexdigest()


CREATE, CLAIM, APPEND, PUT = Script(_CREATE), Script(_CLAIM), Script(_APPEND), Script(_PUT)
DROP, CLOSE, DELETE, REMOVE = Script(_DROP), Script(_CLOSE), Script(_DELETE), Script(_REMOVE)
HEARTBEAT = Script(_HEARTBEAT)
