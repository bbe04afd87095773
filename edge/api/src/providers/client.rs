//! Questions to providers: each has a time, each answer a size, and none is sent on to another address.

use std::sync::Arc;
use std::time::Duration;

use openidconnect::url::Url;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use rustls::RootCertStore;
use rustls::crypto::ring;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::ProviderError;

/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a question may take, its answer too.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(8);
/// Bytes of an answer.
pub(super) const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// Connections to one provider that wait for a next question.
const IDLE_CONNECTIONS_MAX: usize = 4;
/// Questions at a time, of all providers; who asks one more waits for none and is told to come again.
const QUESTIONS_MAX: usize = 64;

/// Asks providers. Clones share it.
#[derive(Clone)]
pub(super) struct ProviderClient {
    http: reqwest::Client,
    room: Arc<Semaphore>,
}

/// An answer and whether it is none of a failure.
pub(super) struct Answered {
    pub(super) is_success: bool,
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// What a question says of who asks.
pub(super) enum As<'a> {
    /// Nothing.
    Nobody,
    /// An access token of the person.
    Bearer(&'a str),
    /// The name and secret of this deployment (RFC 6749, section 2.3.1), encoded already.
    Basic(String),
}

impl ProviderClient {
    pub(super) fn new() -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let authorities = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(authorities)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            // Whoever is sent elsewhere would ask an address that nobody configured.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .http1_only()
            .build()?;
        Ok(Self { http, room: Arc::new(Semaphore::new(QUESTIONS_MAX)) })
    }

    /// Asks for a document.
    pub(super) async fn get(&self, url: &Url, who: As<'_>) -> Result<Answered, ProviderError> {
        self.ask(self.http.get(url.clone()), who).await
    }

    /// Sends a form.
    pub(super) async fn post(&self, url: &Url, form: String, who: As<'_>) -> Result<Answered, ProviderError> {
        let request = self.http.post(url.clone()).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.ask(request.body(form), who).await
    }

    async fn ask(&self, request: reqwest::RequestBuilder, who: As<'_>) -> Result<Answered, ProviderError> {
        let busy = || ProviderError::Unavailable("too many logins wait for providers".into());
        let _room = self.room.try_acquire().map_err(|_| busy())?;
        let request = request.header(ACCEPT, "application/json").header(USER_AGENT, "panda");
        let request = match who {
            As::Nobody => request,
            As::Bearer(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            As::Basic(pair) => request.header(AUTHORIZATION, format!("Basic {pair}")),
        };
        let mut response = request.send().await.map_err(|error| unreached(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|error| unreached(&error))? {
            if body.len() + bytes.len() > ANSWER_BYTES_MAX {
                let text = format!("an answer has more than {ANSWER_BYTES_MAX} bytes");
                return Err(ProviderError::Unbelievable(text));
            }
            body.extend_from_slice(&bytes);
        }
        if status.is_server_error() {
            return Err(ProviderError::Unavailable(format!("it answers {status}")));
        }
        Ok(Answered { is_success: status.is_success(), status: status.as_u16(), body })
    }
}

impl Answered {
    /// The document, of an answer that is one.
    pub(super) fn document<T: DeserializeOwned>(&self, what: &str) -> Result<T, ProviderError> {
        if !self.is_success {
            return Err(ProviderError::Unavailable(format!("it answers {} for {what}", self.status)));
        }
        // Where it broke and not what was there: it may hold a token.
        serde_json::from_slice(&self.body)
            .map_err(|error| ProviderError::Unbelievable(format!("{what} cannot be read at column {}", error.column())))
    }
}

/// Says nothing of the address: its query may hold a code.
fn unreached(error: &reqwest::Error) -> ProviderError {
    let why = if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the answer broke off"
    };
    ProviderError::Unavailable(why.to_owned())
}
