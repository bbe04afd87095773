//! What a login at a provider carries from step to step. No process remembers any of it: it is sealed, and goes through the
//! browser, or lies with the device.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use panda_access::FlowStep;
use panda_protocol::{ErrorCode, Time, UserId};
use panda_storage::user_store::{CodeId, Email, IdentityKey, LoginLabel, ProviderName, Subject, ToldIdentity};
use ring::digest::{SHA256, digest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::problem::{Answer, Problem};
use crate::Api;
use crate::backend::Backend;
use crate::providers::Person;

/// How long a person has at the provider.
pub(super) const STATE_S: u64 = 600;
/// How long whoever began has to redeem what came of it.
pub(super) const RESULT_S: u64 = 60;
/// Characters of a secret that binds a login to who began it, and of a SHA-256 in base64.
const BINDING_LEN: usize = 43;

/// Goes to the provider as `state`.
#[derive(Serialize, Deserialize)]
pub(super) struct State {
    pub(super) id: CodeId,
    pub(super) ends_us: u64,
    pub(super) provider: String,
    /// Comes back in the ID token.
    pub(super) nonce: String,
    /// Of PKCE.
    pub(super) verifier: String,
    /// SHA-256 of the secret of whoever began.
    pub(super) challenge: String,
    /// Where the browser goes then.
    pub(super) back: Back,
    /// Who wants to log in as that, too; none: this is a login.
    pub(super) linking: Option<String>,
}

/// Where a browser goes with what came of a login.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Back {
    /// To the page of this origin.
    Page(String),
    /// To a program that listens on this machine (RFC 8252, section 7.3).
    Loopback(String),
}

/// What came of it, for whoever began.
#[derive(Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) id: CodeId,
    pub(super) ends_us: u64,
    pub(super) challenge: String,
    pub(super) linking: Option<String>,
    pub(super) told: Told,
}

/// What a provider told of a person.
#[derive(Serialize, Deserialize)]
pub(super) struct Told {
    provider: String,
    subject: String,
    email: Option<String>,
    email_verified: bool,
    pub(super) called: Option<String>,
}

/// What a device polls with.
#[derive(Serialize, Deserialize)]
pub(super) struct Device {
    pub(super) id: CodeId,
    pub(super) ends_us: u64,
    pub(super) provider: String,
    pub(super) device_code: String,
    pub(super) interval_s: u64,
    pub(super) label: Option<String>,
}

impl Back {
    /// The address, with what came of it. A page's is behind the `#`, so that no server hears of it.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        match self {
            Self::Page(origin) => format!("{origin}/app#{name}={value}"),
            Self::Loopback(address) => format!("{address}?{name}={value}"),
        }
    }
}

impl Told {
    pub(super) fn new(provider: &ProviderName, person: Person) -> Self {
        Self {
            provider: provider.to_string(),
            subject: person.subject.to_string(),
            email: person.email.map(|email| email.to_string()),
            email_verified: person.email_verified,
            // As much as a username can be made of.
            called: person.called.map(|called| called.chars().take(64).collect()),
        }
    }

    /// As it is stored. None of what this deployment sealed breaks a rule.
    pub(super) fn identity(&self, at: Time) -> Answer<ToldIdentity> {
        let broken = |_| Problem::new(ErrorCode::Internal);
        let provider = ProviderName::parse(&self.provider).map_err(broken)?;
        let subject = Subject::parse(&self.subject).map_err(broken)?;
        let email = self.email.as_deref().map(Email::parse).transpose().map_err(broken)?;
        let key = IdentityKey { provider, subject };
        Ok(ToldIdentity { key, email, email_verified: self.email_verified, at })
    }
}

impl Device {
    pub(super) fn label(&self) -> Answer<Option<LoginLabel>> {
        super::super::logins::parse_label(self.label.as_deref())
    }
}

/// Random, in base64: what nobody guesses.
pub(super) fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// SHA-256 of a text, in base64.
pub(super) fn hashed(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// Whether a text may be a hash that binds a login to who began it.
pub(super) fn check_challenge(challenge: &str) -> Answer<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if challenge.len() == BINDING_LEN && challenge.bytes().all(plain) {
        return Ok(());
    }
    Err(Problem::field("challenge", "it is the SHA-256 of a secret, in base64 (URL-safe, without padding)"))
}

pub(super) fn seal<B: Backend, T: Serialize>(api: &Api<B>, step: FlowStep, what: &T) -> Answer<String> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "what a login carries cannot be sealed");
        Problem::new(ErrorCode::Internal)
    };
    let plain = serde_json::to_vec(what).map_err(|error| failed(&error))?;
    api.parts.flows.seal(step, &plain).map_err(|error| failed(&error))
}

/// What was sealed for this step; none: something else.
pub(super) fn open<B: Backend, T: DeserializeOwned>(api: &Api<B>, step: FlowStep, text: &str) -> Option<T> {
    serde_json::from_slice(&api.parts.flows.open(step, text)?).ok()
}

/// So many seconds from now.
pub(super) fn ends<B: Backend>(api: &Api<B>, seconds: u64) -> u64 {
    api.now().0.saturating_add(seconds.saturating_mul(1_000_000))
}

/// Whether its time is over.
pub(super) fn is_over<B: Backend>(api: &Api<B>, ends_us: u64) -> bool {
    api.now().0 > ends_us
}

/// The user who a flow is of.
pub(super) fn linking_user(linking: &str) -> Answer<UserId> {
    linking.parse().map_err(|_| Problem::new(ErrorCode::Internal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_the_hash_of_a_secret_as_pkce_writes_it() {
        // RFC 7636, appendix B.
        assert_eq!(
            hashed("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
        assert_eq!(secret().len(), BINDING_LEN);
        check_challenge(&hashed("x")).unwrap();
        for other in ["", "x", &"=".repeat(BINDING_LEN), &"A".repeat(BINDING_LEN + 1)] {
            assert!(check_challenge(other).is_err(), "{other}");
        }
    }

    #[test]
    fn what_came_of_a_login_is_told_to_no_server_but_a_program_on_this_machine() {
        let page = Back::Page("https://chat.example".into());
        assert_eq!(page.with("login", "x"), "https://chat.example/app#login=x");
        let program = Back::Loopback("http://127.0.0.1:4711/".into());
        assert_eq!(program.with("login_error", "denied"), "http://127.0.0.1:4711/?login_error=denied");
    }
}
