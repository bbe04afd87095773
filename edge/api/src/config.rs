//! Every limit of the API, with its default.

use std::net::SocketAddr;
use std::time::Duration;

use panda_storage::cache::RateLimit;
use panda_storage::user_store::{LoginLimits, MailLimit};

use crate::providers::LoginProvider;

/// The fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// The most bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 1_024;

/// Bytes of a request's body.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// Bytes of the body of a bulk request.
pub(crate) const BULK_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a picture that is sent.
pub(crate) const PICTURE_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of an Idempotency-Key.
pub(crate) const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Users in one bulk request.
pub(crate) const BULK_USERS_MAX: usize = 1_000;
/// Chats in one bulk request.
pub(crate) const BULK_CHATS_MAX: usize = 100;
/// Members of a chat in a bulk request: their commands stay within what a window remembers, so a
/// repeated request finds every one of its commands answered.
pub(crate) const BULK_MEMBERS_MAX: usize = 10_000;

const _: () =
    assert!(BULK_MEMBERS_MAX / panda_protocol::limits::COMMAND_MEMBERS_MAX < panda_protocol::limits::WINDOW_COMMANDS);

/// How long a link is good that proves a mail address.
pub(crate) const VERIFICATION_TTL: Duration = Duration::from_secs(24 * 3_600);
/// How long a link is good that sets a new password.
pub(crate) const RESET_TTL: Duration = Duration::from_secs(3_600);
/// Links of a kind that are sent to one account.
pub(crate) const MAILS_PER_ACCOUNT: MailLimit = MailLimit { count: 5, window: Duration::from_secs(3_600) };
/// Requests for a new password whose account is being looked for.
pub(crate) const FORGETTING_MAX: usize = 64;

/// How the API is run.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Threads that serve requests; 1 to 64, default 2.
    pub threads: usize,
    /// Threads that hash passwords, 19 MiB each while they do; 1 to 64, default 1.
    pub hash_threads: usize,
    /// Passwords that may wait to be hashed; a further one is refused as `overloaded`. Default 64.
    pub hash_queue_max: usize,
    /// Connections at a time; a further one is closed at once. Default 1,024.
    pub connections_max: usize,
    /// A connection is closed when a request's head takes longer, or when none comes. Default 15 s.
    pub idle_timeout: Duration,
    /// A request is answered within this time or not at all. Default 30 s.
    pub request_timeout: Duration,
    /// A connection is closed when its peer takes no bytes of an answer for so long. Default 15 s.
    pub write_timeout: Duration,
    /// How long an access token is valid. Default 24 h.
    pub token_ttl: Duration,
    /// A login that is not refreshed for so long is over. Default 30 days.
    pub login_idle: Duration,
    /// A login is over after so long, however much it is used. Default 365 days.
    pub login_lifetime: Duration,
    /// How long a refresh token is taken once more after it was used: longer than a client without an
    /// answer goes on trying. Default 300 s.
    pub refresh_grace: Duration,
    /// How often is looked for logins that other processes ended. Default 400 ms.
    pub ended_logins_every: Duration,
    /// How often signing keys are read. Default 5 s.
    pub signing_keys_every: Duration,
    /// Logins and registrations of one IPv4 address or IPv6 /64. Default 600 a minute.
    pub logins_per_address: RateLimit,
    /// Logins under one name from one address or /64, so that who guesses keeps nobody else out. Default 60 a minute.
    pub logins_per_name_and_address: RateLimit,
    /// Logins under one name from everywhere. Default 1,200 a minute.
    pub logins_per_name: RateLimit,
    /// Uses of refresh tokens of one login, logging out too. Default 60 a minute.
    pub refreshes_per_login: RateLimit,
    /// Changes and reads of chats by one user. Default 1,200 a minute.
    pub requests_per_user: RateLimit,
    /// API keys that opened nothing in this process yet, from one address or /64. Default 60 a minute.
    pub api_key_tries_per_address: RateLimit,
    /// Pictures that one user sends. Default 10 a minute.
    pub pictures_per_user: RateLimit,
    /// Exports of one account. Default 10 an hour.
    pub exports_per_user: RateLimit,
    /// Notices by mail about one account. Default 10 an hour.
    pub notices_per_user: RateLimit,
    /// Origins of pages that may use the API from a browser, besides the page of the address itself. Default: none.
    pub origins: Vec<String>,
    /// Whose word about a person is taken. Default: none.
    pub login_providers: Vec<LoginProvider>,
    /// What `/.well-known/panda` tells.
    pub discovery: Discovery,
}

impl Default for ApiConfig {
    fn default() -> Self {
        let per_minute = |count| RateLimit { count, window: Duration::from_secs(60) };
        Self {
            threads: 2,
            hash_threads: 1,
            hash_queue_max: 64,
            connections_max: 1_024,
            idle_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(15),
            token_ttl: Duration::from_secs(24 * 3_600),
            login_idle: Duration::from_secs(30 * 24 * 3_600),
            login_lifetime: Duration::from_secs(365 * 24 * 3_600),
            refresh_grace: Duration::from_secs(300),
            ended_logins_every: Duration::from_millis(400),
            signing_keys_every: Duration::from_secs(5),
            logins_per_address: per_minute(600),
            logins_per_name_and_address: per_minute(60),
            logins_per_name: per_minute(1_200),
            refreshes_per_login: per_minute(60),
            requests_per_user: per_minute(1_200),
            api_key_tries_per_address: per_minute(60),
            pictures_per_user: per_minute(10),
            exports_per_user: RateLimit { count: 10, window: Duration::from_secs(3_600) },
            notices_per_user: RateLimit { count: 10, window: Duration::from_secs(3_600) },
            origins: Vec::new(),
            login_providers: Vec::new(),
            discovery: Discovery::default(),
        }
    }
}

impl ApiConfig {
    pub(crate) const fn login_limits(&self) -> LoginLimits {
        LoginLimits {
            access: self.token_ttl,
            idle: self.login_idle,
            lifetime: self.login_lifetime,
            grace: self.refresh_grace,
        }
    }
}

/// What a client learns from one base URL.
#[derive(Clone, Debug, Default)]
pub struct Discovery {
    /// Sessions are served by other processes: neither WebSocket nor QUIC is here.
    pub api_only: bool,
    /// Origins at which browsers reach the edges of this deployment, this one perhaps among them. A page goes to another
    /// one when its own is away, and its policy lets it.
    pub edges: Vec<String>,
    /// Where QUIC is served; absent: nowhere. An unspecified address stands for the host that the
    /// client's request named.
    pub quic: Option<SocketAddr>,
    /// The host to name instead of `quic`'s address.
    pub quic_host: Option<String>,
    /// SHA-256 of the QUIC certificate if it is one that clients have to pin. Told on loopback and
    /// over TLS only: elsewhere it could be another's.
    pub quic_certificate_sha256: Option<[u8; 32]>,
}
