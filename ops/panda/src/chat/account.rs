//! Who chats: registering, logging in and out, and the few other calls of the HTTP API.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use panda_client::Target;
use panda_protocol::UserId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::login::saved::SavedLogins;

/// The longest that one call takes.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);
/// The longest that a goodbye takes: nobody waits for a server that does not answer.
const LOG_OUT_TIME_MAX: Duration = Duration::from_secs(2);
/// What this client's logins are called in the list of one's own.
pub(super) const LABEL: &str = "panda chat";
/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// The HTTP side of a server.
#[derive(Clone)]
pub(super) struct Server {
    agent: ureq::Agent,
    base: Arc<str>,
}

/// What a person logs in with; never printed.
#[derive(Clone)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

/// A login, and by what it goes on once its access token ends. Clones share it.
#[derive(Clone)]
pub(super) struct Login {
    server: Server,
    means: Means,
}

/// By what a login goes on.
#[derive(Clone)]
enum Means {
    /// It is of this process alone, and ends with it.
    Own {
        credentials: Credentials,
        /// Absent of a server that gives none.
        refresh_token: Arc<Mutex<Option<String>>>,
    },
    /// It stays on this machine, and others may be using it.
    Saved(SavedLogins),
}

/// A user who is logged in.
pub(super) struct Account {
    pub(super) server: Server,
    pub(super) login: Login,
    pub(super) user: UserId,
    /// The username as the server writes it.
    pub(super) name: String,
    pub(super) token: String,
}

/// What the server gives to who is logged in.
#[derive(Deserialize)]
pub(super) struct LoggedIn {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) user: Named,
}

/// A user as the API shows one.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
    pub(super) username: String,
}

/// A refusal of the server.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
struct Refused {
    label: Option<String>,
    words: String,
}

impl Server {
    /// The one with this base URL.
    ///
    /// # Errors
    /// It is no URL.
    pub(super) fn new(base: &str) -> anyhow::Result<Self> {
        if !["http://", "https://"].iter().any(|scheme| base.starts_with(scheme)) {
            bail!("--server takes a URL, such as http://127.0.0.1:8080, not {base}");
        }
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(CALL_TIME_MAX)).build();
        Ok(Self { agent: config.new_agent(), base: base.trim_end_matches('/').into() })
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}{path}", self.base);
        read_answer(self.agent.post(&url).send_json(body).map_err(|error| self.unreached(&error))?)
    }

    /// What it is known by.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Ends a login. A server that does not answer ends it once nobody has used it for long enough.
    pub(super) fn log_out(&self, refresh_token: &str) {
        let request = self.agent.post(format!("{}/logout", self.base));
        let request = request.config().timeout_global(Some(LOG_OUT_TIME_MAX)).build();
        // Whoever leaves can do nothing about it.
        request.send_json(json!({ "refresh_token": refresh_token })).ok();
    }

    fn get(&self, path: &str, token: Option<&str>) -> anyhow::Result<Vec<u8>> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        read_answer(request.call().map_err(|error| self.unreached(&error))?)
    }

    fn unreached(&self, error: &ureq::Error) -> anyhow::Error {
        let why = match error {
            ureq::Error::Io(error) => error.to_string(),
            error => error.to_string(),
        };
        // What TLS says of an answer that is none of its own.
        if why.contains("InvalidContentType") {
            return anyhow!("nothing at {} speaks TLS; perhaps it is an http:// address", self.base);
        }
        anyhow!("nobody answers at {}: {why}", self.base)
    }

    /// Where and how to connect.
    ///
    /// # Errors
    /// There is no Panda at this address.
    pub(super) fn target(&self) -> anyhow::Result<Target> {
        let document = self.get("/.well-known/panda", None).context("find a Panda")?;
        Target::from_discovery(&self.base, &document).with_context(|| format!("understand {}", self.base))
    }

    /// A user by identifier or `@name`.
    ///
    /// # Errors
    /// There is none, or the server does not answer.
    pub(super) fn user(&self, token: &str, who: &str) -> anyhow::Result<Named> {
        let answer = self.get(&format!("/user/{who}"), Some(token)).with_context(|| format!("find {who}"))?;
        serde_json::from_slice(&answer).context("read a user")
    }
}

impl Login {
    /// A newer access token: by the refresh token, and by the password once that is of no use any more.
    ///
    /// # Errors
    /// The login was ended by its user or an operator, who do not want it to begin again by itself; the name or the password
    /// is wrong; or the server does not answer, and may be asked again.
    pub(super) fn renew(&self) -> anyhow::Result<String> {
        match &self.means {
            Means::Own { credentials, refresh_token } => self.renew_own(credentials, refresh_token),
            Means::Saved(logins) => Ok(renew_saved(&self.server, logins)?.access_token),
        }
    }

    fn renew_own(&self, credentials: &Credentials, refresh_token: &Mutex<Option<String>>) -> anyhow::Result<String> {
        let mut kept = refresh_token.lock().unwrap_or_else(PoisonError::into_inner);
        let log_in = || self.server.post("/login", &credentials.body());
        let refreshed = match kept.as_deref() {
            Some(token) => self.server.post("/token/refresh", &json!({ "refresh_token": token })),
            None => log_in(),
        };
        let answer = match refreshed {
            Err(error) if is_refused_with(&error, &["token_expired", "token_invalid", "not_found"]) => log_in()?,
            refreshed => refreshed?,
        };
        let LoggedIn { access_token, refresh_token, .. } = logged_in(&answer)?;
        *kept = refresh_token;
        Ok(access_token)
    }

    /// Ends it, unless it stays on this machine. A server that does not answer ends it once nobody has used it for long
    /// enough; nor is one waited for that is to [renew](Self::renew) it just now, and does not.
    pub(super) fn log_out(&self) {
        let Means::Own { refresh_token, .. } = &self.means else { return };
        let mut kept = match refresh_token.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(error)) => error.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let token = kept.take();
        drop(kept);
        if let Some(token) = token {
            self.server.log_out(&token);
        }
    }
}

/// Goes on with the login that stays; the next refresh token is on the disk before anybody is given the access token.
fn renew_saved(server: &Server, logins: &SavedLogins) -> anyhow::Result<LoggedIn> {
    logins.change(server.base(), |stays| {
        let Some(login) = stays.as_mut() else {
            bail!("nobody is logged in at {} on this machine: give --user, or log in with `panda login`", server.base())
        };
        let answer = match server.post("/token/refresh", &json!({ "refresh_token": login.refresh_token })) {
            Err(error) if is_refused_with(&error, &["token_expired", "token_invalid", "revoked"]) => {
                *stays = None;
                return Err(error).context("this login is over: log in again with `panda login`");
            }
            answer => answer?,
        };
        let logged_in = logged_in(&answer)?;
        login.username.clone_from(&logged_in.user.username);
        if let Some(next) = &logged_in.refresh_token {
            login.refresh_token.clone_from(next);
        }
        Ok(logged_in)
    })
}

/// Whether the server refused with one of these labels.
pub(super) fn is_refused_with(error: &anyhow::Error, labels: &[&str]) -> bool {
    let label = error.downcast_ref::<Refused>().and_then(|refused| refused.label.as_deref());
    label.is_some_and(|label| labels.contains(&label))
}

impl Credentials {
    fn body(&self) -> Value {
        json!({ "username": self.username, "password": self.password, "label": LABEL })
    }
}

impl Account {
    /// Registers or logs in.
    ///
    /// # Errors
    /// The server's refusal, or that it does not answer.
    pub(super) fn open(server: Server, credentials: Credentials, register: bool) -> anyhow::Result<Self> {
        let body = credentials.body();
        let answer = if register {
            server.post("/register", &body).context("register")?
        } else {
            server.post("/login", &body).context("log in (a new user needs --register)")?
        };
        let LoggedIn { access_token: token, refresh_token, user } = logged_in(&answer)?;
        let id = user.id.parse().context("read the user's identifier")?;
        let refresh_token = Arc::new(Mutex::new(refresh_token));
        let login = Login { server: server.clone(), means: Means::Own { credentials, refresh_token } };
        Ok(Self { server, login, user: id, name: user.username, token })
    }

    /// Goes on with the login that stays on this machine.
    ///
    /// # Errors
    /// There is none at this server, it is over, or the server does not answer.
    pub(super) fn saved(server: Server, logins: SavedLogins) -> anyhow::Result<Self> {
        let LoggedIn { access_token: token, user, .. } = renew_saved(&server, &logins)?;
        let id = user.id.parse().context("read the user's identifier")?;
        let login = Login { server: server.clone(), means: Means::Saved(logins) };
        Ok(Self { server, login, user: id, name: user.username, token })
    }
}

pub(super) fn logged_in(answer: &[u8]) -> anyhow::Result<LoggedIn> {
    serde_json::from_slice(answer).context("read the server's answer")
}

fn read_answer(mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Vec<u8>> {
    let status = answer.status().as_u16();
    let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().context("read an answer")?;
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let words = |name: &str| problem.get(name).and_then(Value::as_str).map(str::to_owned);
    let said = match (words("title"), words("detail")) {
        (Some(title), Some(detail)) => format!("{title} ({detail})"),
        (Some(title), None) => title,
        (None, _) => format!("the server answered with status {status}"),
    };
    Err(Refused { label: words("label"), words: said }.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_waits_for_no_renewal_that_is_not_answered() {
        // Takes connections and says nothing, as a server that hangs.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
        let credentials = Credentials { username: "ada".into(), password: "correct horse".into() };
        let refresh_token = Arc::new(Mutex::new(Some("panda_rt_".into())));
        let login = Login { server, means: Means::Own { credentials, refresh_token } };
        let (renewing, leaving) = (login.clone(), login);
        std::thread::spawn(move || renewing.renew().err());
        // The renewal has begun: it holds what it renews by.
        let asked = silent.accept().unwrap();
        let (left, has_left) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            leaving.log_out();
            left.send(()).ok();
        });
        has_left.recv_timeout(CALL_TIME_MAX / 2).expect("nobody waits for the renewal");
        drop(asked);
    }

    #[test]
    fn an_address_without_a_scheme_is_refused_with_an_example() {
        let refused = Server::new("127.0.0.1:8080").err().unwrap().to_string();
        assert!(refused.contains("such as http://127.0.0.1:8080"), "{refused}");
        assert!(Server::new("http://127.0.0.1:8080/").is_ok());
    }
}
