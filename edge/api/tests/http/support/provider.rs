//! A login provider of OpenID Connect that says what a test wants, also what none should.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openidconnect::url::{Url, form_urlencoded};
use panda_api::{LoginProvider, ProviderKind};
use panda_storage::user_store::ProviderName;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::NOW;

const CLIENT: &str = "panda";
const SECRET: &str = "sesame & more";

/// What a test makes of an ID token.
pub(crate) type Twist = fn(&mut Value, &mut Value);

#[derive(Clone)]
pub(crate) struct OpenProvider {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    key: Ed25519KeyPair,
    kid: &'static str,
    signs_with: Option<Ed25519KeyPair>,
    twist: Twist,
    codes: HashMap<String, (Value, String)>,
    /// What polls of a device are answered, the last one first.
    polls: Vec<&'static str>,
    device: Value,
    requests: Vec<String>,
    is_away: bool,
    padding: usize,
}

/// Where a browser was sent.
pub(crate) struct Sent {
    pub(crate) query: HashMap<String, String>,
}

fn key() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
}

impl OpenProvider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            key: key(),
            kid: "one",
            signs_with: None,
            twist: |_, _| (),
            codes: HashMap::new(),
            polls: Vec::new(),
            device: Value::Null,
            requests: Vec::new(),
            is_away: false,
            padding: 0,
        };
        let this = Self { address, state: Arc::new(Mutex::new(state)) };
        let serving = this.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let serving = serving.clone();
                tokio::spawn(async move { serving.serve(stream).await });
            }
        });
        this
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// As the API is to know it.
    pub(crate) fn configured(&self, name: &str) -> LoginProvider {
        LoginProvider {
            name: ProviderName::parse(name).unwrap(),
            kind: ProviderKind::OpenIdConnect,
            label: "Example".to_owned(),
            issuer: self.issuer(),
            client_id: CLIENT.to_owned(),
            client_secret: Some(SECRET.to_owned()),
            scopes: Vec::new(),
            redirect_uri: format!("https://chat.example/login/{name}/callback"),
        }
    }

    /// The person agrees: a code for what the browser was sent with.
    pub(crate) fn agree(&self, sent: &Sent, person: Value) -> String {
        let mut claims = person;
        claims["nonce"] = json!(sent.query["nonce"]);
        self.grant(claims, &sent.query["code_challenge"])
    }

    fn grant(&self, claims: Value, challenge: &str) -> String {
        let mut state = self.state.lock().unwrap();
        let code = format!("code-{}", state.codes.len());
        state.codes.insert(code.clone(), (claims, challenge.to_owned()));
        code
    }

    /// What is made of every ID token's header and claims from now on.
    pub(crate) fn twist(&self, twist: Twist) {
        self.state.lock().unwrap().twist = twist;
    }

    /// Signs with a key that is not among those that it shows.
    pub(crate) fn sign_with_another_key(&self) {
        self.state.lock().unwrap().signs_with = Some(key());
    }

    /// Has another key, and another name for it.
    pub(crate) fn replace_key(&self) {
        let mut state = self.state.lock().unwrap();
        (state.key, state.kid) = (key(), "two");
    }

    pub(crate) fn go_away(&self) {
        self.state.lock().unwrap().is_away = true;
    }

    /// Makes its discovery document longer.
    pub(crate) fn pad(&self, bytes: usize) {
        self.state.lock().unwrap().padding = bytes;
    }

    /// How the next polls of a device are answered, and who the person is.
    pub(crate) fn polls(&self, answers: &[&'static str], person: Value) {
        let mut state = self.state.lock().unwrap();
        state.polls = answers.iter().rev().copied().collect();
        state.device = person;
    }

    /// How often a path was asked.
    pub(crate) fn asked(&self, path: &str) -> usize {
        self.state.lock().unwrap().requests.iter().filter(|asked| *asked == path).count()
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let (head, body) = loop {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = header(head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                break (head.to_owned(), body.to_owned());
            }
        };
        let (status, answer) = self.answer(&head, &body);
        let answer = answer.to_string();
        let text = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
            answer.len()
        );
        drop(stream.write_all(text.as_bytes()).await);
    }

    fn answer(&self, head: &str, body: &str) -> (u16, Value) {
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let mut state = self.state.lock().unwrap();
        state.requests.push(path.clone());
        if state.is_away {
            return (503, json!({}));
        }
        let form: HashMap<String, String> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let at = |path: &str| format!("{}{path}", self.issuer());
        match path.as_str() {
            "/.well-known/openid-configuration" => (
                200,
                json!({
                    "issuer": self.issuer(),
                    "authorization_endpoint": at("/authorize"),
                    "token_endpoint": at("/token"),
                    "jwks_uri": at("/keys"),
                    "device_authorization_endpoint": at("/device"),
                    "authorization_response_iss_parameter_supported": true,
                    "code_challenge_methods_supported": ["S256"],
                    "padding": "x".repeat(state.padding),
                }),
            ),
            "/keys" => {
                let x = URL_SAFE_NO_PAD.encode(state.key.public_key());
                let key =
                    json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": state.kid, "x": x });
                (200, json!({ "keys": [key] }))
            }
            _ if !is_known(head) => (401, json!({ "error": "invalid_client" })),
            "/device" => (
                200,
                json!({ "device_code": "device-1", "user_code": "WDJB-MJHT", "verification_uri": at("/activate"),
                        "expires_in": 600, "interval": 5 }),
            ),
            "/token" if form["grant_type"].ends_with("device_code") => match state.polls.pop() {
                Some("person") => {
                    let claims = state.device.clone();
                    (200, tokens(&state, &self.issuer(), claims))
                }
                Some(error) => (400, json!({ "error": error })),
                None => (400, json!({ "error": "invalid_grant" })),
            },
            "/token" => {
                let granted = state.codes.remove(&form["code"]);
                let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
                match granted {
                    Some((claims, asked)) if asked == challenge => (200, tokens(&state, &self.issuer(), claims)),
                    _ => (400, json!({ "error": "invalid_grant" })),
                }
            }
            _ => (404, json!({})),
        }
    }
}

impl Sent {
    pub(crate) fn parse(url: &str) -> Self {
        Self { query: Url::parse(url).unwrap().query_pairs().into_owned().collect() }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Whether the client names itself as RFC 6749, section 2.3.1 has it.
fn is_known(head: &str) -> bool {
    let encoded: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    header(head, "authorization") == Some(&format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{encoded}"))))
}

fn tokens(state: &State, issuer: &str, mut claims: Value) -> Value {
    let now = NOW.0 / 1_000_000;
    let mut head = json!({ "alg": "EdDSA", "kid": state.kid });
    for (name, value) in
        [("iss", json!(issuer)), ("aud", json!(CLIENT)), ("iat", json!(now)), ("exp", json!(now + 300))]
    {
        claims[name] = value;
    }
    (state.twist)(&mut head, &mut claims);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let said = format!("{}.{}", part(&head), part(&claims));
    let signature = state.signs_with.as_ref().unwrap_or(&state.key).sign(said.as_bytes());
    let signature = if head["alg"] == "none" { String::new() } else { URL_SAFE_NO_PAD.encode(signature) };
    json!({ "access_token": "at", "token_type": "Bearer", "id_token": format!("{said}.{signature}") })
}
