//! The cache: what many processes like to share and may lose at any moment.
//!
//! Losing it loses speed and never data, and it lets nobody in: no answer of a cache decides who may
//! do what. A caller whose cache fails goes on as if it were empty.

use std::future::Future;
use std::time::Duration;

use panda_protocol::{Time, UserId};

use crate::user_store::{PictureUrl, Username};

/// Users whose presence is asked for in one call.
pub const PRESENCE_USERS_MAX: usize = 1_000;
/// Edges whose statements about one user are kept.
pub const EDGES_MAX: usize = 16;
/// Bytes of the key of a rate limit.
pub const RATE_KEY_BYTES_MAX: usize = 128;

/// What everybody may know of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Who.
    pub id: UserId,
    /// The name.
    pub username: Username,
    /// Where clients find a picture.
    pub picture: Option<PictureUrl>,
    /// The version of the row that this was read from.
    pub version: u64,
}

/// Whether a user is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Presence {
    /// Sessions that are open, over all edges.
    pub sessions: u32,
    /// When a session was last known to be open.
    pub seen: Option<Time>,
}

/// At most `count` in every window. A window begins with the first use after the one before ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How much.
    pub count: u32,
    /// In how long; above 0.
    pub window: Duration,
}

/// What is left of a limit that was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// How much, in this window.
    pub uses: u32,
    /// How long until the window ends.
    pub renewed_in: Duration,
}

/// The cache is away or too slow; go on without it.
#[derive(Debug, thiserror::Error)]
#[error("the cache is not available: {0}")]
pub struct CacheUnavailable(pub String);

/// Profiles, presence and shared rate limits.
///
/// `now` is the caller's time. A cache that several processes share goes by one clock of its own instead,
/// so that it does not matter how theirs differ.
pub trait Cache: Clone + Send + Sync + 'static {
    /// A user's profile, if it is cached and was filled less than a minute before `now`.
    ///
    /// # Errors
    /// [`CacheUnavailable`].
    fn profile(
        &self,
        user: UserId,
        now: Time,
    ) -> impl Future<Output = Result<Option<Profile>, CacheUnavailable>> + Send;

    /// Caches a profile, unless a newer version of it is known: cached now, cached before, or named by
    /// [`Self::invalidate_profile`].
    ///
    /// # Errors
    /// [`CacheUnavailable`].
    fn fill_profile(&self, profile: Profile, now: Time) -> impl Future<Output = Result<(), CacheUnavailable>> + Send;

    /// Forgets a profile that is older than `version`, and remembers for [`PROFILE_VERSION_TTL`] that older
    /// ones are: nobody who reads after this sees one, whoever fills it in. For the version of a row that
    /// was changed; [`u64::MAX`] where it is not known whether a change happened, which leaves the profile
    /// out of the cache for that time.
    ///
    /// # Errors
    /// [`CacheUnavailable`]: older ones may be seen yet. It goes on being tried until nothing that was
    /// filled before is believed any longer.
    fn invalidate_profile(
        &self,
        user: UserId,
        version: u64,
        now: Time,
    ) -> impl Future<Output = Result<(), CacheUnavailable>> + Send;

    /// States how many sessions of a user an edge has now. It holds for two minutes unless it is
    /// stated again, so that a killed edge keeps nobody online. Of more than [`EDGES_MAX`] edges, the
    /// statement that lapses first is forgotten.
    ///
    /// # Errors
    /// [`CacheUnavailable`].
    fn state_sessions(
        &self,
        user: UserId,
        edge: u64,
        sessions: u32,
        now: Time,
    ) -> impl Future<Output = Result<(), CacheUnavailable>> + Send;

    /// Whether users are there, in the order asked for; at most the first [`PRESENCE_USERS_MAX`]. When a
    /// user was seen is forgotten after [`SEEN_TTL`], or before.
    ///
    /// # Errors
    /// [`CacheUnavailable`].
    fn presence(
        &self,
        users: Vec<UserId>,
        now: Time,
    ) -> impl Future<Output = Result<Vec<Presence>, CacheUnavailable>> + Send;

    /// Uses a shared limit once, and says what is left. `Err` within says how long to wait; nothing was used then. Keys
    /// above [`RATE_KEY_BYTES_MAX`] share one count.
    ///
    /// # Errors
    /// [`CacheUnavailable`].
    fn take(
        &self,
        key: &[u8],
        limit: RateLimit,
        now: Time,
    ) -> impl Future<Output = Result<Result<Left, Duration>, CacheUnavailable>> + Send;
}

/// How long a filled profile is believed.
pub const PROFILE_TTL: Duration = Duration::from_secs(60);
/// How long it is remembered, at least, which version of a profile is the newest known, unless the cache is
/// lost. Longer than anybody takes between reading a row and filling it in.
pub const PROFILE_VERSION_TTL: Duration = Duration::from_secs(600);
/// How long a statement of sessions holds.
pub const SESSIONS_TTL: Duration = Duration::from_secs(120);
/// How long it is remembered when a user was last seen, unless the cache is lost.
pub const SEEN_TTL: Duration = Duration::from_secs(7 * 24 * 3_600);
