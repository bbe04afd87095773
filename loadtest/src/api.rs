//! Calls of the HTTP API as users of a run: to one target after the other, again until one is answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use panda_protocol::error_code::Recovery;
use panda_protocol::{ErrorCode, Text};
use serde::Deserialize;
use tokio::time::Instant;

use crate::checker::Span;
use crate::provision::ProvisionError;
use crate::run::{Run, RunError};
use crate::session::{is_final, new_token};

/// A call that is not answered within this time counts as lost, and the next target is asked.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Wait before a call is repeated, unless the answer names a longer one.
const REPEAT_AFTER: Duration = Duration::from_millis(100);
/// The largest answer: 256 messages of 16 KiB, each byte of which may become six in JSON, are below.
const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Of an answer that cannot be used, what is told.
const SHOWN_CHARACTERS_MAX: usize = 300;
/// Connections that are kept to each target; the server closes them after 15 s without a request.
const CONNECTIONS: usize = 64;
const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(5);

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Changes, with a body.
    Post,
    /// Changes, without one.
    Delete,
}

/// A call of the API.
#[derive(Clone, Debug)]
pub struct Call {
    /// What to do.
    pub method: Method,
    /// Where, with the query.
    pub path: String,
    /// The `Idempotency-Key` of what changes something.
    pub key: Option<String>,
    /// The body of a POST.
    pub body: Vec<u8>,
}

impl Call {
    /// Reads a path.
    pub const fn get(path: String) -> Self {
        Self { method: Method::Get, path, key: None, body: Vec::new() }
    }
}

/// What came of a call in the end.
#[derive(Debug)]
pub struct Answered {
    /// Place of the target that answered.
    pub target: usize,
    /// From the first try of what changes something, or the last of what reads, to the answer.
    pub span: Span,
    /// The body, or the code of a refusal that no repetition heals.
    pub outcome: Result<Vec<u8>, u16>,
    /// Nothing of an earlier try may still happen.
    pub certain: bool,
}

/// Why a try brought nothing.
enum Failed {
    /// In words.
    NoAnswer(String),
    Refused {
        status: u16,
        code: u16,
        wait: Duration,
    },
}

/// Users of a run as callers. Each call names one by its place in [`Run::users`].
#[derive(Debug)]
pub struct Api {
    run: Arc<Run>,
    agent: ureq::Agent,
    tokens: Vec<Mutex<Text>>,
    repeated: Mutex<BTreeMap<String, u64>>,
}

impl Api {
    /// Of this run's users and targets.
    pub fn new(run: &Arc<Run>) -> Arc<Self> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_MAX))
            .max_idle_connections(CONNECTIONS * run.targets.len())
            .max_idle_connections_per_host(CONNECTIONS)
            .max_idle_age(CONNECTION_IDLE_MAX)
            .build();
        let tokens = run.users.iter().map(|user| Mutex::new(user.token.clone())).collect();
        Arc::new(Self { run: Arc::clone(run), agent: config.new_agent(), tokens, repeated: Mutex::default() })
    }

    /// Makes a call as user `user`, at target `at` first, until it is answered with success or refused for good. After a
    /// call without an answer the next target is asked, but never `but`, if there are others. A repetition has the same
    /// key, so what changes something happens once.
    ///
    /// # Errors
    /// [`RunError::Unreachable`] beyond the run's patience.
    pub async fn ask(
        self: &Arc<Self>,
        user: usize,
        call: Call,
        at: usize,
        but: Option<usize>,
    ) -> Result<Answered, RunError> {
        let until = Instant::now() + self.run.patience;
        let count = self.run.targets.len();
        let next = |at: usize| if but == Some(at % count) && count > 1 { (at + 1) % count } else { at % count };
        let (call, first) = (Arc::new(call), self.run.now());
        let (mut target, mut certain) = (next(at), true);
        loop {
            let asked = if call.method == Method::Get { self.run.now() } else { first };
            let tried = self.once(user, &call, target).await;
            let span = Span { asked, answered: self.run.now() };
            let (why, wait) = match tried {
                Ok(body) => return Ok(Answered { target, span, outcome: Ok(body), certain }),
                Err(Failed::Refused { status: 401, code, .. }) if Recovery::of(code) == Recovery::Authenticate => {
                    // A target that gives none may be the one that is ill.
                    if let Err(error) = self.renew(user, target, until).await {
                        target = next(target + 1);
                        (format!("{}, and no new token: {error}", named(401, code)), REPEAT_AFTER)
                    } else {
                        (named(401, code), REPEAT_AFTER)
                    }
                }
                Err(Failed::Refused { status: status @ (429 | 503 | 504), code, wait }) => {
                    certain &= is_final(code);
                    (named(status, code), wait)
                }
                Err(Failed::Refused { code, .. }) => return Ok(Answered { target, span, outcome: Err(code), certain }),
                Err(Failed::NoAnswer(why)) => {
                    certain = false;
                    target = next(target + 1);
                    (why, REPEAT_AFTER)
                }
            };
            if Instant::now() >= until {
                let (patience, path) = (self.run.patience, &call.path);
                return Err(RunError::Unreachable(format!("{path} was not answered within {patience:?}; last: {why}")));
            }
            *self.repeated.lock().unwrap_or_else(PoisonError::into_inner).entry(why).or_default() += 1;
            tokio::time::sleep(wait.max(REPEAT_AFTER)).await;
        }
    }

    /// Calls that were made again, by why.
    pub fn repeated(&self) -> BTreeMap<String, u64> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn once(self: &Arc<Self>, user: usize, call: &Arc<Call>, target: usize) -> Result<Vec<u8>, Failed> {
        let token = self.tokens[user].lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (api, call) = (Arc::clone(self), Arc::clone(call));
        let called = tokio::task::spawn_blocking(move || api.call(&call, &token, target)).await;
        called.unwrap_or_else(|_| Err(Failed::NoAnswer("the call's thread ended early".into())))
    }

    fn call(&self, call: &Call, token: &Text, target: usize) -> Result<Vec<u8>, Failed> {
        let url = format!("{}{}", self.run.targets[target].http.base(), call.path);
        let bearer = format!("Bearer {token}");
        let key = call.key.as_deref();
        let answer = match call.method {
            Method::Get => self.agent.get(url).header("Authorization", bearer).call(),
            Method::Delete => {
                let request = self.agent.delete(url).header("Authorization", bearer);
                with_key(request, key).call()
            }
            Method::Post => {
                let request = self.agent.post(url).header("Authorization", bearer);
                with_key(request, key).header("Content-Type", "application/json").send(&call.body)
            }
        };
        read(answer.map_err(no_answer)?)
    }

    async fn renew(&self, user: usize, target: usize, until: Instant) -> Result<(), ProvisionError> {
        let place = u32::try_from(user).unwrap_or(u32::MAX);
        // One target's part of the time, so that others are asked, too.
        let left = until.saturating_duration_since(Instant::now());
        let token = new_token(&self.run, place, target, left.min(CALL_MAX)).await?;
        *self.tokens[user].lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }
}

/// Reads a body.
///
/// # Errors
/// [`RunError::Malformed`] if it is not what the API's document says.
pub fn parsed<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, RunError> {
    serde_json::from_slice(body).map_err(|error| {
        let shown: String = String::from_utf8_lossy(body).chars().take(SHOWN_CHARACTERS_MAX).collect();
        RunError::Malformed(format!("a target's answer is not what its document says: {error}: {shown}"))
    })
}

fn no_answer(error: ureq::Error) -> Failed {
    Failed::NoAnswer(format!("no answer ({error})"))
}

fn with_key<B>(request: ureq::RequestBuilder<B>, key: Option<&str>) -> ureq::RequestBuilder<B> {
    match key {
        Some(key) => request.header("Idempotency-Key", key),
        None => request,
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> Result<Vec<u8>, Failed> {
    #[derive(Default, Deserialize)]
    struct Problem {
        #[serde(default)]
        code: u16,
        #[serde(default)]
        retry_after_ms: u64,
    }
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(no_answer)?;
    if (200..300).contains(&status) {
        return Ok(body);
    }
    // Something between that is no server of ours may have refused; it has a status and no code.
    let Problem { code, retry_after_ms } = serde_json::from_slice(&body).unwrap_or_default();
    Err(Failed::Refused { status, code, wait: Duration::from_millis(retry_after_ms) })
}

fn named(status: u16, code: u16) -> String {
    ErrorCode::from_u16(code).map_or_else(|| format!("status {status}"), |known| known.to_string())
}

#[cfg(test)]
mod tests;
