//! The cache in Redis, shared by all processes of a cluster.
//!
//! No process keeps a copy of what is in there, so that a change that was stated is seen by the next read
//! of everybody. Times are the server's own, whatever the callers' clocks say. Every key ends by itself,
//! and a server that is full may evict any of them: give it `maxmemory` and `allkeys-lru`. Keys name the
//! version of their form, so that releases that know another one leave them alone.

mod config;
mod connection;
mod owed;
mod scripts;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use panda_protocol::{Time, UserId};

pub use self::config::{RedisConfig, RedisLimits};
use self::connection::Connection;
use self::owed::Owed;
use crate::cache::{
    Cache, CacheUnavailable, EDGES_MAX, Left, PRESENCE_USERS_MAX, PROFILE_TTL, PROFILE_VERSION_TTL, Presence, Profile,
    RATE_KEY_BYTES_MAX, RateLimit, SEEN_TTL, SESSIONS_TTL,
};
use crate::user_store::{PictureUrl, Username};

/// The version of the form of keys and values.
const FORM: u32 = 1;
/// The longest window of a rate limit.
const WINDOW_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);
/// How long the task that repeats what is owed waits after a failure.
const OWED_PAUSE: Duration = Duration::from_millis(100);

/// The cache of a cluster. Clones share its connection.
#[derive(Clone)]
pub struct RedisCache {
    shared: Arc<Shared>,
}

struct Shared {
    connection: Connection,
    owed: Owed,
    /// What keys begin with.
    prefix: String,
    /// Whether the caller's time counts: for tests, which jump.
    callers_time: bool,
}

impl RedisCache {
    /// A cache that connects when it is first asked.
    ///
    /// # Errors
    /// [`CacheUnavailable`] if the URL cannot be read.
    pub fn new(config: &RedisConfig) -> Result<Self, CacheUnavailable> {
        Self::going_by(config, false)
    }

    fn going_by(config: &RedisConfig, callers_time: bool) -> Result<Self, CacheUnavailable> {
        let connection = Connection::new(config)?;
        let prefix = format!("{}:{FORM}:", config.prefix);
        Ok(Self { shared: Arc::new(Shared { connection, owed: Owed::default(), prefix, callers_time }) })
    }

    /// Whether the server answers; connects if need be.
    ///
    /// # Errors
    /// [`CacheUnavailable`].
    pub async fn ping(&self) -> Result<(), CacheUnavailable> {
        self.shared.connection.ask(async |mut connection| redis::cmd("PING").exec_async(&mut connection).await).await
    }
}

impl Shared {
    fn key(&self, kind: &str, of: &[u8]) -> Vec<u8> {
        [self.prefix.as_bytes(), kind.as_bytes(), b":", of].concat()
    }

    fn user_key(&self, kind: &str, user: UserId) -> Vec<u8> {
        self.key(kind, user.to_string().as_bytes())
    }

    /// What a script is told of the time.
    const fn stamp(&self, now: Time) -> u64 {
        if self.callers_time { now.0 } else { 0 }
    }

    /// The time when `TIME` was answered in seconds and microseconds.
    const fn time(&self, (seconds, micros): (u64, u64), now: Time) -> Time {
        if self.callers_time { now } else { Time(seconds.saturating_mul(1_000_000).saturating_add(micros)) }
    }

    async fn invalidate(&self, user: UserId, version: u64, now: Time) -> Result<(), CacheUnavailable> {
        let mut script = scripts::INVALIDATE_PROFILE.key(self.user_key("profile", user));
        script.arg(self.stamp(now)).arg(version).arg(millis(PROFILE_VERSION_TTL));
        self.connection.ask(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    /// Says what is owed until nothing is.
    async fn pay(self: Arc<Self>) {
        while let Some((user, version)) = self.owed.next() {
            match self.invalidate(user, version, Time(0)).await {
                Ok(()) => self.owed.settle(user, version),
                Err(_) => tokio::time::sleep(OWED_PAUSE).await,
            }
        }
    }
}

/// What `HMGET version at name picture` answers.
type ProfileFields = (Option<u64>, Option<u64>, Option<String>, Option<String>);

impl Cache for RedisCache {
    async fn profile(&self, user: UserId, now: Time) -> Result<Option<Profile>, CacheUnavailable> {
        let shared = &self.shared;
        if shared.owed.contains(user) {
            return Ok(None);
        }
        let mut question = redis::pipe();
        question.cmd("TIME").cmd("HMGET").arg(shared.user_key("profile", user));
        question.arg(&["version", "at", "name", "picture"]);
        let answers: redis::Value =
            shared.connection.ask(async |mut connection| question.query_async(&mut connection).await).await?;
        let (time, fields): ((u64, u64), ProfileFields) = redis::from_redis_value(answers).map_err(of_another_form)?;
        Ok(read_profile(user, fields, shared.time(time, now)))
    }

    async fn fill_profile(&self, profile: Profile, now: Time) -> Result<(), CacheUnavailable> {
        let shared = &self.shared;
        if shared.owed.contains(profile.id) {
            return Ok(());
        }
        let mut script = scripts::FILL_PROFILE.key(shared.user_key("profile", profile.id));
        script.arg(shared.stamp(now)).arg(profile.version).arg(millis(PROFILE_VERSION_TTL));
        script.arg(profile.username.as_str()).arg(profile.picture.as_ref().map_or("", PictureUrl::as_str));
        shared.connection.ask(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    async fn invalidate_profile(&self, user: UserId, version: u64, now: Time) -> Result<(), CacheUnavailable> {
        let stated = self.shared.invalidate(user, version, now).await;
        if stated.is_err() && !self.shared.owed.add(user, version, Arc::clone(&self.shared).pay()) {
            tracing::warn!("too many changes while the cache is away: old profiles may be seen for a minute");
        }
        stated
    }

    async fn state_sessions(&self, user: UserId, edge: u64, sessions: u32, now: Time) -> Result<(), CacheUnavailable> {
        let shared = &self.shared;
        let mut script = scripts::STATE_SESSIONS.key(shared.user_key("presence", user));
        script.arg(shared.stamp(now)).arg(edge).arg(sessions).arg(micros(SESSIONS_TTL));
        script.arg(EDGES_MAX).arg(millis(SEEN_TTL));
        shared.connection.ask(async |mut connection| script.invoke_async(&mut connection).await).await
    }

    async fn presence(&self, users: Vec<UserId>, now: Time) -> Result<Vec<Presence>, CacheUnavailable> {
        let shared = &self.shared;
        let mut question = redis::pipe();
        question.cmd("TIME");
        for user in users.iter().take(PRESENCE_USERS_MAX) {
            question.cmd("HGETALL").arg(shared.user_key("presence", *user));
        }
        let answers: Vec<redis::Value> =
            shared.connection.ask(async |mut connection| question.query_async(&mut connection).await).await?;
        read_presences(answers, |time| shared.time(time, now)).map_err(of_another_form)
    }

    async fn take(&self, key: &[u8], limit: RateLimit, now: Time) -> Result<Result<Left, Duration>, CacheUnavailable> {
        let shared = &self.shared;
        let key = if key.len() > RATE_KEY_BYTES_MAX { &[] } else { key };
        let mut script = scripts::TAKE.key(shared.key("rate", key));
        script.arg(shared.stamp(now)).arg(limit.count).arg(micros(limit.window.min(WINDOW_MAX)));
        let (left, window_us): (i64, u64) =
            shared.connection.ask(async |mut connection| script.invoke_async(&mut connection).await).await?;
        let window = Duration::from_micros(window_us);
        Ok(u32::try_from(left).map(|uses| Left { uses, renewed_in: window }).map_err(|_| window))
    }
}

/// Values of another form than this release writes are no fault of the server's.
fn of_another_form(error: redis::ParsingError) -> CacheUnavailable {
    CacheUnavailable(format!("what is cached has another form: {error}"))
}

/// A profile if one is there and believed. What breaks the rules of its fields is none.
fn read_profile(user: UserId, fields: ProfileFields, now: Time) -> Option<Profile> {
    let (Some(version), Some(filled), Some(name), picture) = fields else { return None };
    // What was filled in the future was filled under another clock.
    if now.0.checked_sub(filled)? >= micros(PROFILE_TTL) {
        return None;
    }
    let picture = picture.filter(|url| !url.is_empty()).map(|url| PictureUrl::stored(&url)).transpose().ok()?;
    Some(Profile { id: user, username: Username::parse(&name).ok()?, picture, version })
}

fn read_presences(
    answers: Vec<redis::Value>,
    now: impl Fn((u64, u64)) -> Time,
) -> Result<Vec<Presence>, redis::ParsingError> {
    let mut answers = answers.into_iter();
    let time = redis::from_redis_value(answers.next().unwrap_or(redis::Value::Nil))?;
    let now = now(time);
    answers.map(|answer| Ok(read_presence(&redis::from_redis_value(answer)?, now))).collect()
}

fn read_presence(fields: &HashMap<String, String>, now: Time) -> Presence {
    let live = fields.values().filter_map(|value| {
        let (sessions, until) = value.split_once(' ')?;
        (now.0 < until.parse().ok()?).then_some(sessions.parse::<u32>().ok()?)
    });
    Presence {
        sessions: live.fold(0, u32::saturating_add),
        seen: fields.get("seen").and_then(|seen| seen.parse().ok()).map(Time),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
