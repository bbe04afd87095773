//! The HTTP API: identity, profiles, chats over HTTP, provisioning, and the page.
//!
//! It runs on threads of its own: nothing that happens here touches an edge's sockets. Commands and
//! reads of chats take the way of every session's commands and reads, over a link to the chat's
//! owner; this crate decides no permission of a chat. `HTTP.md` beside the edge describes every
//! endpoint.

mod backend;
mod config;
mod http;
mod identity;
mod mail;
mod metrics;
mod pictures;
mod providers;
mod server;

use std::sync::Arc;

pub use backend::{Backend, Chats};
pub use config::{ApiConfig, Discovery, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
pub use identity::{
    Bootstrap, BootstrapError, EndedLogins, SigningError, SigningKeys, api_key_digest, bootstrap, new_api_key,
};
pub use mail::{FIRST_WAIT, MailConfig, MailWay, SmtpConfig, SmtpConfigError, SmtpTls};
pub use metrics::Metrics;
use panda_access::{FlowSealer, RefreshTokens};
use panda_protocol::Time;
use panda_storage::PictureStore;
pub use providers::{GITHUB, GOOGLE, LOGIN_PROVIDERS_MAX, LoginProvider, ProviderKind};
pub use server::{ApiThreads, Connection, serve, start};
use tokio::sync::Semaphore;

use crate::config::FORGETTING_MAX;
use crate::identity::{PasswordHasher, Programs};
use crate::mail::Mailer;
use crate::pictures::Pictures;
use crate::providers::Providers;

/// What the API works with.
pub struct Parts<B: Backend> {
    /// Users and keys.
    pub users: B::Users,
    /// What may be lost.
    pub cache: B::Cache,
    /// The way to the chats' owners.
    pub chats: B::Chats,
    /// Sign new tokens, and say whose are accepted.
    pub keys: SigningKeys,
    /// Knows refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// Seals what logins at other providers carry.
    pub flows: FlowSealer,
    /// Which logins were ended.
    pub ended: EndedLogins,
    /// Where pictures are kept; none: nobody can send one.
    pub pictures: Option<PictureStore>,
    /// How mail is sent; none: what needs it is refused.
    pub mail: Option<MailConfig>,
    /// Reads the clock; the only one that the API knows.
    pub clock: fn() -> Time,
}

/// What all requests share.
pub(crate) struct Api<B: Backend> {
    config: ApiConfig,
    parts: Parts<B>,
    hasher: PasswordHasher,
    programs: Programs,
    pictures: Option<Pictures>,
    mailer: Option<Mailer>,
    forgetting: Arc<Semaphore>,
    providers: Providers,
    metrics: Metrics,
}

impl<B: Backend> Api<B> {
    pub(crate) fn new(config: ApiConfig, parts: Parts<B>, metrics: Metrics) -> std::io::Result<Arc<Self>> {
        let hasher = PasswordHasher::start(config.hash_threads, config.hash_queue_max)?;
        let pictures = parts.pictures.clone().map(Pictures::start).transpose()?;
        let providers = Providers::new(&config.login_providers, parts.clock)?;
        let mailer = parts.mail.clone().map(|mail| Mailer::start(mail, metrics.clone())).transpose()?;
        let forgetting = Arc::new(Semaphore::new(FORGETTING_MAX));
        Ok(Arc::new(Self {
            config,
            parts,
            hasher,
            programs: Programs::default(),
            pictures,
            mailer,
            forgetting,
            providers,
            metrics,
        }))
    }

    pub(crate) fn now(&self) -> Time {
        (self.parts.clock)()
    }

    pub(crate) fn now_unix_s(&self) -> u64 {
        self.now().0 / 1_000_000
    }
}
