//! Where a provider's endpoints are, and its keys: read when they are first needed, and kept for a while.

use std::time::Duration;

use openidconnect::core::CoreJsonWebKeySet;
use openidconnect::url::Url;
use panda_storage::user_store::ProviderName;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::client::As;
use super::config::check_address;
use super::{Provider, ProviderError, ProviderKind};

/// For how long what was read is taken.
const KEPT: Duration = Duration::from_secs(3_600);
/// For how long a provider is not asked again that did not answer; so long it is for keys that are not known, too.
const PATIENCE: Duration = Duration::from_secs(10);
/// Keys of a provider.
const KEYS_MAX: usize = 64;

/// What a discovery document says (OpenID Connect Discovery 1.0, RFC 8414, RFC 8628, RFC 9207), as far as it is used.
#[derive(Deserialize)]
struct Document {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    device_authorization_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

/// Where what is asked.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    /// What it calls itself; none of a provider that has no such word.
    pub(super) issuer: Option<String>,
    /// Whether its answers through a browser say whose they are.
    pub(super) names_itself: bool,
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) device: Option<Url>,
    pub(super) userinfo: Option<Url>,
    /// Whether the secret goes into the form, and not into a header.
    pub(super) secret_in_form: bool,
    jwks: Option<Url>,
}

/// What is known of a provider.
#[derive(Default)]
pub(super) struct Issuer {
    /// Held while it is asked: who comes meanwhile waits for the same answer.
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    endpoints: Option<(Instant, Endpoints)>,
    keys: Option<(Instant, CoreJsonWebKeySet)>,
    failed: Option<(Instant, ProviderError)>,
}

impl Provider {
    /// Its endpoints.
    pub(super) async fn endpoints(&self) -> Result<Endpoints, ProviderError> {
        if self.config.kind == ProviderKind::GitHub {
            return github(&self.config.issuer);
        }
        let mut known = self.issuer.known.lock().await;
        if let Some((_, endpoints)) = known.endpoints.as_ref().filter(|(at, _)| at.elapsed() < KEPT) {
            return Ok(endpoints.clone());
        }
        if let Some((_, error)) = known.failed.as_ref().filter(|(at, _)| at.elapsed() < PATIENCE) {
            return Err(error.clone());
        }
        match self.discover().await {
            Ok(endpoints) => {
                known.failed = None;
                known.endpoints = Some((Instant::now(), endpoints.clone()));
                Ok(endpoints)
            }
            Err(error) => {
                told(&self.config.name, &error);
                known.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Its keys. `newer` asks for some that were read just now, for one that is not among those which are kept; a provider
    /// that is asked so again and again is asked seldom.
    pub(super) async fn keys(&self, newer: bool) -> Result<CoreJsonWebKeySet, ProviderError> {
        let url = self.endpoints().await?.jwks.ok_or(ProviderError::Lacks("keys"))?;
        let mut known = self.issuer.known.lock().await;
        let kept = if newer { PATIENCE } else { KEPT };
        if let Some((_, keys)) = known.keys.as_ref().filter(|(at, _)| at.elapsed() < kept) {
            return Ok(keys.clone());
        }
        let keys: CoreJsonWebKeySet = self.client.get(&url, As::Nobody).await?.document("its keys")?;
        if keys.keys().len() > KEYS_MAX {
            return Err(ProviderError::Unbelievable(format!("it has more than {KEYS_MAX} keys")));
        }
        known.keys = Some((Instant::now(), keys.clone()));
        Ok(keys)
    }

    async fn discover(&self) -> Result<Endpoints, ProviderError> {
        let issuer = &self.config.issuer;
        // The path of an issuer is part of the document's (OpenID Connect Discovery 1.0, section 4.1).
        let address = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
        let url = Url::parse(&address).map_err(|_| unbelievable("issuer"))?;
        let document: Document = self.client.get(&url, As::Nobody).await?.document("its discovery document")?;
        if document.issuer != *issuer {
            return Err(ProviderError::Unbelievable(format!(
                "it calls itself {:?}, and the configuration has {issuer:?}",
                super::oidc::shortened(&document.issuer)
            )));
        }
        // Whoever offers PKCE without S256 would take the verifier itself for the challenge.
        if document.code_challenge_methods_supported.is_some_and(|methods| !methods.iter().any(|one| one == "S256")) {
            return Err(ProviderError::Lacks("PKCE with S256"));
        }
        let methods = document.token_endpoint_auth_methods_supported.unwrap_or_default();
        let has = |method: &str| methods.iter().any(|one| one == method);
        let optional = |name, address: Option<String>| address.map(|address| endpoint(name, &address)).transpose();
        Ok(Endpoints {
            issuer: Some(document.issuer),
            names_itself: document.authorization_response_iss_parameter_supported,
            authorization: endpoint("authorization_endpoint", &document.authorization_endpoint)?,
            token: endpoint("token_endpoint", &document.token_endpoint)?,
            device: optional("device_authorization_endpoint", document.device_authorization_endpoint)?,
            userinfo: optional("userinfo_endpoint", document.userinfo_endpoint)?,
            secret_in_form: has("client_secret_post") && !has("client_secret_basic"),
            jwks: Some(endpoint("jwks_uri", &document.jwks_uri)?),
        })
    }
}

fn endpoint(name: &str, address: &str) -> Result<Url, ProviderError> {
    let mut bare = Url::parse(address).map_err(|_| unbelievable(name))?;
    let query = bare.query().map(str::to_owned);
    bare.set_query(None);
    let mut url = check_address(bare.as_str()).map_err(|_| unbelievable(name))?;
    url.set_query(query.as_deref());
    Ok(url)
}

fn unbelievable(name: &str) -> ProviderError {
    ProviderError::Unbelievable(format!("{name} is no address that may be asked"))
}

/// GitHub has no discovery: its addresses are documented.
fn github(origin: &str) -> Result<Endpoints, ProviderError> {
    let at = |path: &str| endpoint("issuer", &format!("{}{path}", origin.trim_end_matches('/')));
    Ok(Endpoints {
        issuer: None,
        names_itself: false,
        authorization: at("/login/oauth/authorize")?,
        token: at("/login/oauth/access_token")?,
        device: Some(at("/login/device/code")?),
        userinfo: None,
        secret_in_form: true,
        jwks: None,
    })
}

fn told(name: &ProviderName, error: &ProviderError) {
    tracing::warn!(provider = %name, %error, "a login provider cannot be used");
}
