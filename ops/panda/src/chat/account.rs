//! Who chats: registering, logging in, and the few other calls of the HTTP API.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use panda_client::Target;
use panda_protocol::UserId;
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest that one call takes.
const CALL_TIME_MAX: Duration = Duration::from_secs(30);
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

/// A user who is logged in.
pub(super) struct Account {
    pub(super) server: Server,
    pub(super) credentials: Credentials,
    pub(super) user: UserId,
    /// The username as the server writes it.
    pub(super) name: String,
    pub(super) token: String,
}

#[derive(Deserialize)]
struct LoggedIn {
    access_token: String,
    user: Named,
}

/// A user as the API shows one.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
    pub(super) username: String,
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

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}{path}", self.base);
        read_answer(self.agent.post(&url).send_json(body).map_err(|error| self.unreached(&error))?)
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

    /// A new access token.
    ///
    /// # Errors
    /// The name or the password is wrong, or the server does not answer.
    pub(super) fn log_in(&self, credentials: &Credentials) -> anyhow::Result<String> {
        let body = json!({ "username": credentials.username, "password": credentials.password });
        Ok(logged_in(&self.post("/login", &body)?)?.access_token)
    }
}

impl Account {
    /// Registers or logs in.
    ///
    /// # Errors
    /// The server's refusal, or that it does not answer.
    pub(super) fn open(server: Server, credentials: Credentials, register: bool) -> anyhow::Result<Self> {
        let body = json!({ "username": credentials.username, "password": credentials.password });
        let answer = if register {
            server.post("/register", &body).context("register")?
        } else {
            server.post("/login", &body).context("log in (a new user needs --register)")?
        };
        let LoggedIn { access_token: token, user } = logged_in(&answer)?;
        let id = user.id.parse().context("read the user's identifier")?;
        Ok(Self { server, credentials, user: id, name: user.username, token })
    }
}

fn logged_in(answer: &[u8]) -> anyhow::Result<LoggedIn> {
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
    match (words("title"), words("detail")) {
        (Some(title), Some(detail)) => bail!("{title} ({detail})"),
        (Some(title), None) => bail!("{title}"),
        (None, _) => bail!("the server answered with status {status}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_refused_with_an_example() {
        let refused = Server::new("127.0.0.1:8080").err().unwrap().to_string();
        assert!(refused.contains("such as http://127.0.0.1:8080"), "{refused}");
        assert!(Server::new("http://127.0.0.1:8080/").is_ok());
    }
}
