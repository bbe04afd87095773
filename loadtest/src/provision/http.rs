//! The few HTTP calls of a run, off the runtime's threads.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// How long one call may take; the server answers a slow one with 504 after 30 s.
const CALL_TIME_MAX: Duration = Duration::from_secs(40);
/// Wait before a call is repeated, unless the answer names another.
const REPEAT_AFTER: Duration = Duration::from_millis(250);
/// The largest answer: 1,000 users with tokens are well below.
const ANSWER_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Why provisioning failed.
#[derive(Debug)]
pub enum ProvisionError {
    /// The target does not answer.
    Unreachable(String),
    /// It answered with a refusal.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The body, which says why.
        body: String,
    },
    /// The answer is not what it should be.
    Answer(String),
    /// What should be the certificate to believe is none.
    Authority(String),
}

impl std::fmt::Display for ProvisionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the target cannot be reached: {why}"),
            Self::Refused { status, body } if body.trim().is_empty() => write!(
                f,
                "the target answered with {status} and not a word: nothing like a Panda answers there; --target is where \
                 its HTTP API is, such as http://127.0.0.1:8080"
            ),
            Self::Refused { status: 401 | 403, body } => write!(f, "the target refused the API key: {body}"),
            Self::Refused { status, body } => write!(f, "the target refused with {status}: {body}"),
            Self::Answer(problem) => write!(f, "the target's answer cannot be used: {problem}"),
            Self::Authority(problem) => write!(f, "the file of the authority holds no certificate: {problem}"),
        }
    }
}

impl std::error::Error for ProvisionError {}

/// A call that is made once.
#[derive(Debug)]
pub enum Question {
    /// To this path, with the API key.
    Post(&'static str, Vec<u8>),
    /// As the user of this token, from this path.
    GetAs(String, String),
}

/// Calls of one target.
#[derive(Debug)]
pub struct Http {
    agent: ureq::Agent,
    base: String,
    key: String,
}

impl Http {
    /// Of the target at this base URL; `key` is the API key.
    pub fn new(base: &str, key: &str) -> Arc<Self> {
        Self::with_limit(base, key, CALL_TIME_MAX)
    }

    /// As [`Self::new`], with a time for each call.
    pub fn with_limit(base: &str, key: &str, call_max: Duration) -> Arc<Self> {
        Self::build(base, key, call_max, TlsConfig::default())
    }

    /// As [`Self::new`]; over HTTPS the first certificate of `authority` (PEM) is believed, and nobody else's.
    ///
    /// # Errors
    /// [`ProvisionError::Authority`] if there is none.
    pub fn with_authority(base: &str, key: &str, authority: &[u8]) -> Result<Arc<Self>, ProvisionError> {
        let certificate = Certificate::from_pem(authority);
        let certificate = certificate.map_err(|error| ProvisionError::Authority(error.to_string()))?;
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[certificate])).build();
        Ok(Self::build(base, key, CALL_TIME_MAX, tls))
    }

    fn build(base: &str, key: &str, call_max: Duration, tls: TlsConfig) -> Arc<Self> {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(call_max));
        let agent = config.tls_config(tls).build().new_agent();
        Arc::new(Self { agent, base: base.trim_end_matches('/').to_owned(), key: key.to_owned() })
    }

    /// Makes a call once, whatever comes of it.
    ///
    /// # Errors
    /// [`ProvisionError`].
    pub async fn ask(self: &Arc<Self>, question: Question) -> Result<Vec<u8>, ProvisionError> {
        let http = Arc::clone(self);
        let called = tokio::task::spawn_blocking(move || match question {
            Question::Post(path, body) => http.post(path, &body),
            Question::GetAs(token, path) => http.get_as(&token, &path),
        });
        called.await.unwrap_or_else(|_| Err(ProvisionError::Answer("the call's thread ended early".into())))
    }

    fn get_as(&self, token: &str, path: &str) -> Result<Vec<u8>, ProvisionError> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("Authorization", format!("Bearer {token}"));
        read(request.call().map_err(|error| ProvisionError::Unreachable(format!("{}: {error}", self.base)))?)
    }

    /// The target's base URL.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The API key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Gets a path, without a key.
    ///
    /// # Errors
    /// [`ProvisionError`].
    pub async fn get(self: &Arc<Self>, path: &'static str) -> Result<Vec<u8>, ProvisionError> {
        let http = Arc::clone(self);
        let called = tokio::task::spawn_blocking(move || {
            let answer = http.agent.get(format!("{}{path}", http.base)).call();
            read(answer.map_err(|error| ProvisionError::Unreachable(format!("{}: {error}", http.base)))?)
        });
        called.await.unwrap_or_else(|_| Err(ProvisionError::Answer("the call's thread ended early".into())))
    }

    /// Posts a body, and again while the target does not answer or says that it cannot now, for at most
    /// `patience`. What is posted must be safe to repeat.
    ///
    /// # Errors
    /// [`ProvisionError`] of the last try.
    pub async fn post_until<A: for<'a> Deserialize<'a>>(
        self: &Arc<Self>,
        path: &'static str,
        body: Vec<u8>,
        patience: Duration,
    ) -> Result<A, ProvisionError> {
        let until = Instant::now() + patience;
        let body = bytes::Bytes::from(body);
        loop {
            let (http, sent) = (Arc::clone(self), body.clone());
            let called = tokio::task::spawn_blocking(move || http.post(path, &sent)).await;
            let called = called.unwrap_or_else(|_| Err(ProvisionError::Answer("the call's thread ended early".into())));
            match called {
                Ok(answer) => {
                    return serde_json::from_slice(&answer).map_err(|error| ProvisionError::Answer(error.to_string()));
                }
                Err(error) if !passes(&error) || Instant::now() >= until => return Err(error),
                Err(_) => tokio::time::sleep(REPEAT_AFTER).await,
            }
        }
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, ProvisionError> {
        let request = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("Authorization", format!("Bearer {}", self.key))
            .header("Content-Type", "application/json");
        read(request.send(body).map_err(|error| ProvisionError::Unreachable(format!("{}: {error}", self.base)))?)
    }
}

/// Whether the same request may succeed later.
const fn passes(error: &ProvisionError) -> bool {
    matches!(error, ProvisionError::Unreachable(_) | ProvisionError::Refused { status: 429 | 503 | 504, .. })
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<Vec<u8>, ProvisionError> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|error| ProvisionError::Unreachable(error.to_string()))?;
    if (200..300).contains(&status) {
        return Ok(body);
    }
    Err(ProvisionError::Refused { status, body: String::from_utf8_lossy(&body).chars().take(500).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_no_authority() {
        for pem in [&b""[..], b"no certificate", b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"] {
            let refused = Http::with_authority("https://127.0.0.1:1", "key", pem);
            assert!(matches!(refused, Err(ProvisionError::Authority(_))), "{refused:?}");
        }
    }
}
