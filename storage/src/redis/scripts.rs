//! What happens within the server, each in one step that nobody comes between.
//!
//! The first argument is the time in microseconds, or 0 for the server's own. Numbers are exact up to
//! 2^53, which times in microseconds reach in the year 2255; they are written with `%.0f` because Lua's
//! own way rounds large ones.

use std::sync::LazyLock;

use redis::Script;

macro_rules! script {
    ($($line:literal)+) => {
        LazyLock::new(|| {
            Script::new(concat!(
                "local now = tonumber(ARGV[1])\n",
                "if now == 0 then local t = redis.call('TIME') now = t[1] * 1000000 + t[2] end\n",
                $($line, "\n",)+
            ))
        })
    };
}

/// Fills a profile, unless a newer version is known. Key: the profile's; arguments: version, how long the
/// version is remembered in milliseconds, name, picture (empty: none).
pub(super) static FILL_PROFILE: LazyLock<Script> = script! {
    "local known = tonumber(redis.call('HGET', KEYS[1], 'version'))"
    "if known and known > tonumber(ARGV[2]) then return end"
    "redis.call('DEL', KEYS[1])"
    "redis.call('HSET', KEYS[1], 'version', ARGV[2], 'at', string.format('%.0f', now),"
    "  'name', ARGV[4], 'picture', ARGV[5])"
    "redis.call('PEXPIRE', KEYS[1], ARGV[3])"
};

/// Forgets what is older than a version and remembers the version. Key: the profile's; arguments: version,
/// how long it is remembered in milliseconds.
pub(super) static INVALIDATE_PROFILE: LazyLock<Script> = script! {
    "local known = tonumber(redis.call('HGET', KEYS[1], 'version'))"
    "if not known or known < tonumber(ARGV[2]) then"
    "  redis.call('DEL', KEYS[1])"
    "  redis.call('HSET', KEYS[1], 'version', ARGV[2])"
    "end"
    "redis.call('PEXPIRE', KEYS[1], ARGV[3])"
};

/// States an edge's sessions of a user. Key: the user's presence; arguments: edge, sessions, how long that
/// holds in microseconds, how many edges are kept, how long the user is remembered in milliseconds.
pub(super) static STATE_SESSIONS: LazyLock<Script> = script! {
    "local edge, sessions, holds = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])"
    "local fields = redis.call('HGETALL', KEYS[1])"
    "local count, oldest, oldest_until, was_there, seen = 0, nil, nil, false, 0"
    "for i = 1, #fields, 2 do"
    "  local name, value = fields[i], fields[i + 1]"
    "  if name == 'seen' then"
    "    seen = tonumber(value)"
    "  elseif name == edge then"
    "    was_there = true"
    "  else"
    "    local ends = tonumber(string.match(value, ' (%d+)$'))"
    "    if not ends or ends <= now then"
    "      redis.call('HDEL', KEYS[1], name)"
    "    else"
    "      count = count + 1"
    "      if not oldest or ends < oldest_until then oldest, oldest_until = name, ends end"
    "    end"
    "  end"
    "end"
    "if sessions > 0 then"
    "  if count >= tonumber(ARGV[5]) then redis.call('HDEL', KEYS[1], oldest) end"
    "  redis.call('HSET', KEYS[1], edge, ARGV[3] .. ' ' .. string.format('%.0f', now + holds))"
    "else"
    "  redis.call('HDEL', KEYS[1], edge)"
    "end"
    "if (sessions > 0 or was_there) and seen < now then"
    "  redis.call('HSET', KEYS[1], 'seen', string.format('%.0f', now))"
    "end"
    "redis.call('PEXPIRE', KEYS[1], ARGV[6])"
};

/// Uses a limit once; returns 0, or how long to wait in microseconds. Key: the limit's; arguments: how much,
/// in how long in microseconds.
///
/// A window that ends later than one that begins now was made by another clock or for another limit.
pub(super) static TAKE: LazyLock<Script> = script! {
    "local count, window = tonumber(ARGV[2]), tonumber(ARGV[3])"
    "local known = redis.call('HMGET', KEYS[1], 'used', 'ends')"
    "local used, ends = tonumber(known[1]), tonumber(known[2])"
    "if used and ends and now < ends and ends - now <= window then"
    "  if used >= count then return {-1, ends - now} end"
    "  redis.call('HINCRBY', KEYS[1], 'used', 1)"
    "  return {count - used - 1, ends - now}"
    "end"
    "if count == 0 then return {-1, window} end"
    "redis.call('HSET', KEYS[1], 'used', 1, 'ends', string.format('%.0f', now + window))"
    "redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000))"
    "return {count - 1, window}"
};
