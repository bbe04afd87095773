//! The questions to a token endpoint: a code that came back through a browser (RFC 6749, RFC 7636), and the device grant
//! (RFC 8628), a poll of which is one question.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openidconnect::url::Url;
use openidconnect::url::form_urlencoded::{Serializer, byte_serialize};
use serde::Deserialize;

use super::client::{Answered, As};
use super::config::check_address;
use super::discovery::Endpoints;
use super::oidc::shortened;
use super::{Person, Provider, ProviderError, ProviderKind};

/// The longest that a device code may be polled with.
const DEVICE_CODE_S_MAX: u64 = 1_800;
/// How often a device polls where the provider does not say.
const POLL_S: u64 = 5;
/// The most seconds between two polls.
const POLL_S_MAX: u64 = 60;
/// Bytes of a device code, a user code and an address of theirs.
const CODE_BYTES_MAX: usize = 512;
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// What a token endpoint gives.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) id_token: Option<String>,
}

/// What it says instead.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

#[derive(Deserialize)]
struct DeviceAnswer {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

/// What a person types where, and what the device polls with.
pub(crate) struct DeviceGrant {
    pub(crate) device_code: String,
    pub(crate) user_code: String,
    pub(crate) verification_uri: String,
    pub(crate) verification_uri_complete: Option<String>,
    /// Seconds.
    pub(crate) expires_in: u64,
    /// Seconds between two polls.
    pub(crate) interval: u64,
}

/// What came of a poll.
pub(crate) enum Polled {
    /// The person has not decided yet.
    Pending,
    /// Nor that, and it was too early: the time between polls grows by 5 s (RFC 8628, section 3.5).
    SlowDown,
    /// The person let this device in.
    Person(Person),
    /// The person did not.
    Denied,
    /// The code's time is over.
    Expired,
}

impl Provider {
    /// Who came back with this code.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn exchange(&self, code: &str, verifier: &str, nonce: &str) -> Result<Person, ProviderError> {
        let endpoints = self.endpoints().await?;
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.config.redirect_uri),
            ("code_verifier", verifier),
        ];
        let tokens = match self.tokens(&endpoints, &form).await? {
            Ok(tokens) => tokens,
            Err(refusal) => return Err(ProviderError::Refused(shortened(&refusal))),
        };
        self.person(&endpoints, &tokens, Some(nonce)).await
    }

    /// Begins to let a device in that has no browser.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn begin_device(&self) -> Result<DeviceGrant, ProviderError> {
        let endpoints = self.endpoints().await?;
        let device = endpoints.device.clone().ok_or(ProviderError::Lacks("device grant"))?;
        let answered = self.send(&endpoints, &device, &[("scope", &self.config.scopes().join(" "))]).await?;
        if let Some(refusal) = refusal(&answered) {
            return Err(ProviderError::Refused(shortened(&refusal)));
        }
        let answer: DeviceAnswer = answered.document("its device authorization")?;
        let is_address = |address: &str| {
            let bare = address.split(['?', '#']).next().unwrap_or_default();
            address.len() <= CODE_BYTES_MAX && check_address(bare).is_ok() && !address.chars().any(char::is_control)
        };
        let is_code = |code: &str| (1..=CODE_BYTES_MAX).contains(&code.len()) && !code.chars().any(char::is_control);
        if !is_code(&answer.device_code) || !is_code(&answer.user_code) || !is_address(&answer.verification_uri) {
            return Err(ProviderError::Unbelievable("its device authorization is none".into()));
        }
        Ok(DeviceGrant {
            device_code: answer.device_code,
            user_code: answer.user_code,
            verification_uri: answer.verification_uri,
            verification_uri_complete: answer.verification_uri_complete.filter(|address| is_address(address)),
            expires_in: answer.expires_in.min(DEVICE_CODE_S_MAX),
            interval: answer.interval.unwrap_or(POLL_S).clamp(1, POLL_S_MAX),
        })
    }

    /// Asks once whether the device is let in.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub(crate) async fn poll_device(&self, device_code: &str) -> Result<Polled, ProviderError> {
        let endpoints = self.endpoints().await?;
        let form = [("grant_type", DEVICE_GRANT), ("device_code", device_code)];
        match self.tokens(&endpoints, &form).await? {
            // No browser of ours was there that could have brought a nonce.
            Ok(tokens) => Ok(Polled::Person(self.person(&endpoints, &tokens, None).await?)),
            Err(refusal) => match refusal.as_str() {
                "authorization_pending" => Ok(Polled::Pending),
                "slow_down" => Ok(Polled::SlowDown),
                "access_denied" => Ok(Polled::Denied),
                "expired_token" => Ok(Polled::Expired),
                other => Err(ProviderError::Refused(shortened(other))),
            },
        }
    }

    async fn tokens(
        &self,
        endpoints: &Endpoints,
        form: &[(&str, &str)],
    ) -> Result<Result<Tokens, String>, ProviderError> {
        let answered = self.send(endpoints, &endpoints.token, form).await?;
        // GitHub refuses with status 200.
        if let Some(refusal) = refusal(&answered) {
            return Ok(Err(refusal));
        }
        answered.document("its tokens").map(Ok)
    }

    /// Sends a form as this deployment.
    async fn send(&self, endpoints: &Endpoints, url: &Url, form: &[(&str, &str)]) -> Result<Answered, ProviderError> {
        let (form, who) = self.signed(endpoints, form);
        self.client.post(url, form, who).await
    }

    /// A form, and who sends it (RFC 6749, section 2.3.1).
    fn signed(&self, endpoints: &Endpoints, form: &[(&str, &str)]) -> (String, As<'static>) {
        let mut encoded = Serializer::new(String::new());
        encoded.extend_pairs(form);
        let (id, secret) = (&self.config.client_id, &self.config.client_secret);
        if let Some(secret) = secret.as_ref().filter(|_| !endpoints.secret_in_form) {
            let word = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            return (encoded.finish(), As::Basic(STANDARD.encode(format!("{}:{}", word(id), word(secret)))));
        }
        encoded.append_pair("client_id", id);
        encoded.extend_pairs(secret.iter().map(|secret| ("client_secret", secret)));
        (encoded.finish(), As::Nobody)
    }

    async fn person(
        &self,
        endpoints: &Endpoints,
        tokens: &Tokens,
        nonce: Option<&str>,
    ) -> Result<Person, ProviderError> {
        match self.config.kind {
            ProviderKind::OpenIdConnect => self.person_of_id_token(endpoints, tokens, nonce).await,
            ProviderKind::GitHub => self.person_of_github(&tokens.access_token).await,
        }
    }
}

fn refusal(answered: &Answered) -> Option<String> {
    serde_json::from_slice::<Refusal>(&answered.body).ok().map(|refusal| refusal.error)
}
