//! Login providers: whose word about a person this deployment takes.
//!
//! Only what the configuration names is ever asked: an issuer, and the addresses that its own discovery document gives. No
//! request of a client names an address. Every question has a time limit, and every answer a size.

mod client;
mod config;
mod discovery;
mod exchange;
mod github;
mod oidc;

use std::sync::Arc;

use panda_protocol::Time;
use panda_storage::user_store::{Email, ProviderName, Subject};

use self::client::ProviderClient;
use self::config::origin_of;
pub use self::config::{GITHUB, GOOGLE, LOGIN_PROVIDERS_MAX, LoginProvider, ProviderKind};
use self::discovery::Issuer;
pub(crate) use self::exchange::Polled;

/// Why a provider let nobody in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProviderError {
    /// It does not answer, or with a failure of its own: later it may.
    #[error("the login provider cannot be asked now: {0}")]
    Unavailable(String),
    /// It refuses: the person, or what was brought.
    #[error("the login provider refuses: {0}")]
    Refused(String),
    /// What it said is not to be believed, or is no answer.
    #[error("the login provider's answer is not taken: {0}")]
    Unbelievable(String),
    /// It does not do that.
    #[error("this login provider has no {0}")]
    Lacks(&'static str),
}

/// What a provider told of a person, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    /// Its unchanging word for the person.
    pub(crate) subject: Subject,
    /// The mail address, if it told one that is one.
    pub(crate) email: Option<Email>,
    /// Whether the provider says that it is that person's.
    pub(crate) email_verified: bool,
    /// What the person is called there; may be anything.
    pub(crate) called: Option<String>,
}

/// What a browser is sent to the provider with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    /// Comes back as it is.
    pub(crate) state: &'a str,
    /// Comes back within the ID token.
    pub(crate) nonce: &'a str,
    /// SHA-256 of the verifier, in base64 (RFC 7636, S256).
    pub(crate) challenge: &'a str,
}

/// A provider that is configured.
pub(crate) struct Provider {
    pub(crate) config: LoginProvider,
    client: ProviderClient,
    issuer: Issuer,
    clock: fn() -> Time,
}

/// All providers of this deployment; clones share them.
#[derive(Clone)]
pub(crate) struct Providers(Arc<Vec<Provider>>);

impl Providers {
    /// Those of the configuration. Nobody is asked yet.
    pub(crate) fn new(configured: &[LoginProvider], clock: fn() -> Time) -> std::io::Result<Self> {
        let client = ProviderClient::new().map_err(std::io::Error::other)?;
        let provider = |config: &LoginProvider| Provider {
            config: config.clone(),
            client: client.clone(),
            issuer: Issuer::default(),
            clock,
        };
        Ok(Self(Arc::new(configured.iter().map(provider).collect())))
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Provider> {
        self.0.iter().find(|provider| provider.config.name.as_str() == name)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Provider> {
        self.0.iter()
    }

    /// Their names: those that let somebody in.
    pub(crate) fn names(&self) -> Vec<ProviderName> {
        self.all().map(|provider| provider.config.name.clone()).collect()
    }
}

impl Provider {
    /// Where a browser asks the provider.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn authorize_url(&self, asking: &Asking<'_>) -> Result<String, ProviderError> {
        let endpoints = self.endpoints().await?;
        let mut url = endpoints.authorization.clone();
        let config = &self.config;
        {
            let mut query = url.query_pairs_mut();
            query
                .append_pair("response_type", "code")
                .append_pair("client_id", &config.client_id)
                .append_pair("redirect_uri", &config.redirect_uri)
                .append_pair("scope", &config.scopes().join(" "))
                .append_pair("state", asking.state)
                .append_pair("code_challenge", asking.challenge)
                .append_pair("code_challenge_method", "S256");
            if config.is_oidc() {
                query.append_pair("nonce", asking.nonce);
            }
        }
        Ok(url.into())
    }

    /// Whether an answer that came back names another provider than the one that was asked (RFC 9207). An answer that names
    /// none is refused where the provider says that its answers do.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn answers_as_itself(&self, iss: Option<&str>) -> Result<(), ProviderError> {
        let endpoints = self.endpoints().await?;
        let is_its_own = |iss: &str| match &endpoints.issuer {
            Some(issuer) => iss == issuer,
            None => origin_of(iss) == origin_of(&self.config.issuer),
        };
        match iss {
            Some(iss) if !is_its_own(iss) => {
                Err(ProviderError::Unbelievable("the answer is another provider's".into()))
            }
            None if endpoints.names_itself => {
                Err(ProviderError::Unbelievable("the answer does not say whose it is".into()))
            }
            _ => Ok(()),
        }
    }
}
