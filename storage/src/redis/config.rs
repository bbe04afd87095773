//! Where the server is, and how long anything may take.

use std::fmt;
use std::time::Duration;

use redis::Client;

use crate::cache::CacheUnavailable;

/// How a server is reached. Its `Debug` form does not show the URL.
#[derive(Clone)]
pub struct RedisConfig {
    /// `redis://:password@host:6379/0`. Connections are not encrypted: the way to the server must be
    /// one's own.
    pub url: String,
    /// What every key begins with, for a server that keeps other things too.
    pub prefix: String,
    /// How long anything may take.
    pub limits: RedisLimits,
}

impl RedisConfig {
    /// A configuration with the defaults for everything but the place.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), prefix: "panda".into(), limits: RedisLimits::default() }
    }

    /// Whether the URL is one that the cache takes, as far as that can be seen without a server.
    ///
    /// # Errors
    /// [`CacheUnavailable`], which shows nothing of the URL.
    pub fn check_url(&self) -> Result<(), CacheUnavailable> {
        self.client().map(drop)
    }

    pub(super) fn client(&self) -> Result<Client, CacheUnavailable> {
        // The driver's own words might quote the password.
        Client::open(self.url.as_str()).map_err(|_| {
            CacheUnavailable("the cache's URL cannot be read; it looks like redis://:password@host:6379/0".into())
        })
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("prefix", &self.prefix)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// How long anything may take: a call at most [`connect`](Self::connect) and [`answer`](Self::answer)
/// together, nearly always at most one of them, and nothing while the server rests.
#[derive(Clone, Copy, Debug)]
pub struct RedisLimits {
    /// Making a connection; one call at a time tries, the others go on without the cache.
    pub connect: Duration,
    /// An answer. A server that takes longer is of no use as a cache.
    pub answer: Duration,
    /// For how long a server that failed is not asked again, at most; half of it at least, so that not
    /// all processes come back at once.
    pub rest: Duration,
}

impl Default for RedisLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_millis(500),
            answer: Duration::from_millis(250),
            rest: Duration::from_millis(500),
        }
    }
}
