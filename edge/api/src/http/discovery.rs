//! `/.well-known/panda`: all that a client needs, from one base URL.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use panda_protocol::limits;
use serde_json::{Map, Value, json};

use super::Peer;
use super::body::Json;
use crate::Api;
use crate::backend::Backend;
use crate::config::Discovery;
use crate::providers::LoginProvider;

/// Versions of the protocol that this server speaks.
const VERSIONS: [u16; 1] = [1];

#[utoipa::path(
    get,
    path = "/.well-known/panda",
    tag = "clients",
    summary = "All that a client needs, from one base URL",
    responses((status = 200, description = "Versions, addresses and limits", body = Value)),
)]
pub(crate) async fn discovery<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Json<Value> {
    let config = &api.config.discovery;
    let mut body = Map::from_iter([
        ("versions".to_owned(), json!(VERSIONS)),
        ("api".to_owned(), json!("/")),
        ("server".to_owned(), json!(concat!("panda ", env!("CARGO_PKG_VERSION")))),
        ("limits".to_owned(), limits_json()),
        ("mail".to_owned(), json!(api.mailer.is_some())),
    ]);
    if !config.api_only {
        body.insert("websocket".to_owned(), json!("/ws"));
    }
    if !config.edges.is_empty() {
        body.insert("edges".to_owned(), json!(config.edges));
    }
    let providers: Vec<_> = api.providers.all().map(|provider| &provider.config).map(described).collect();
    if !providers.is_empty() {
        body.insert("login_providers".to_owned(), json!(providers));
    }
    let asked = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if let Some(quic) = quic_address(config, asked) {
        body.insert("quic".to_owned(), json!(quic));
        // Elsewhere somebody in between could name a certificate of their own.
        let trusted = peer.tls || peer.address.ip().to_canonical().is_loopback();
        if let Some(fingerprint) = config.quic_certificate_sha256.filter(|_| trusted) {
            body.insert("quic_certificate_sha256".to_owned(), json!(hex(&fingerprint)));
        }
    }
    Json(Value::Object(body))
}

/// What a client has to know of a login provider.
fn described(provider: &LoginProvider) -> Value {
    json!({ "name": provider.name.as_str(), "label": provider.label })
}

/// Where the client finds QUIC: the configured host, or the address served, or, if that is every
/// address, the host by which the client reached this one.
fn quic_address(config: &Discovery, asked: Option<&str>) -> Option<String> {
    let address = config.quic?;
    let host = match &config.quic_host {
        Some(host) => host.clone(),
        None if address.ip().is_unspecified() => asked.and_then(host_of)?.to_owned(),
        None => match address.ip() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        },
    };
    Some(format!("{host}:{}", address.port()))
}

/// The host of a `Host` field, if it is a plain one.
fn host_of(asked: &str) -> Option<&str> {
    let host = match asked.rfind(']') {
        Some(end) if asked.starts_with('[') => &asked[..=end],
        Some(_) => return None,
        None => asked.split(':').next()?,
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    ((1..=253).contains(&host.len()) && host.bytes().all(plain)).then_some(host)
}

fn limits_json() -> Value {
    json!({
        "frame_bytes": limits::FRAME_BYTES_MAX,
        "hello_bytes": limits::HELLO_BYTES_MAX,
        "text_bytes": limits::TEXT_BYTES_MAX,
        "chat_name_bytes": limits::CHAT_NAME_BYTES_MAX,
        "command_members": limits::COMMAND_MEMBERS_MAX,
        "subscriptions": limits::SUBSCRIPTIONS_MAX,
        "sync_chats": limits::SYNC_CHATS_MAX,
        "requests_in_flight": limits::REQUESTS_IN_FLIGHT_MAX,
        "unanswered_commands": limits::UNANSWERED_COMMANDS_MAX,
        "page_events": limits::PAGE_EVENTS_MAX,
        "page_rows": limits::PAGE_ROWS_MAX,
        "user_chats": limits::USER_CHATS_MAX,
        "chat_members": limits::CHAT_MEMBERS_MAX,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str, host: Option<&str>) -> Discovery {
        Discovery { quic: Some(address.parse().unwrap()), quic_host: host.map(str::to_owned), ..Discovery::default() }
    }

    #[test]
    fn quic_is_found_where_http_was_found() {
        let anywhere = at("0.0.0.0:8443", None);
        assert_eq!(quic_address(&anywhere, Some("chat.example.org:8080")), Some("chat.example.org:8443".into()));
        assert_eq!(quic_address(&anywhere, Some("[::1]:8080")), Some("[::1]:8443".into()));
        assert_eq!(quic_address(&anywhere, Some("127.0.0.1")), Some("127.0.0.1:8443".into()));
        assert_eq!(quic_address(&anywhere, Some("evil\"host")), None);
        assert_eq!(quic_address(&anywhere, Some("")), None);
        assert_eq!(quic_address(&anywhere, None), None);
        assert_eq!(quic_address(&at("[::1]:1", None), None), Some("[::1]:1".into()));
        assert_eq!(quic_address(&at("127.0.0.1:1", Some("edge.example.org")), None), Some("edge.example.org:1".into()));
        assert_eq!(quic_address(&Discovery::default(), Some("host")), None);
    }
}
