//! Where a server is: the discovery document.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use panda_protocol::frame::PROTOCOL_VERSION;
use serde::Deserialize;

/// Where a server's transports are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `ws://host:port/path` or `wss://...`.
    pub websocket: Option<String>,
    /// The QUIC endpoint.
    pub quic: Option<QuicTarget>,
}

/// Where a server's QUIC endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuicTarget {
    /// A name or an address.
    pub host: String,
    /// The UDP port.
    pub port: u16,
    /// The SHA-256 of the one certificate to accept; `None`: verify as usual. A WebSocket over TLS
    /// accepts this certificate too.
    pub certificate_sha256: Option<[u8; 32]>,
}

/// Why a discovery document is of no use.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// The base URL is not `http://host[:port]` or `https://host[:port]`.
    #[error("the base URL must be http://host:port or https://host:port, but is {0}")]
    BaseUrl(String),
    /// The document is not JSON of the right form.
    #[error("the discovery document cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The server speaks no version of ours.
    #[error("the server speaks versions {0:?} of the protocol, this client {PROTOCOL_VERSION}; update the older one")]
    Version(Vec<u64>),
    /// `quic` is not `host:port`.
    #[error("the QUIC address {0} in the discovery document is not host:port")]
    Quic(String),
    /// `quic_certificate_sha256` is not 64 hexadecimal digits.
    #[error("the certificate's fingerprint in the discovery document is not 64 hexadecimal digits")]
    Fingerprint,
}

#[derive(Deserialize)]
struct Document {
    versions: Vec<u64>,
    websocket: Option<String>,
    quic: Option<String>,
    quic_certificate_sha256: Option<String>,
}

impl Target {
    /// Reads the body of `GET {base_url}/.well-known/panda`, which the caller fetched.
    ///
    /// # Errors
    /// [`DiscoveryError`]
    pub fn from_discovery(base_url: &str, json: &[u8]) -> Result<Self, DiscoveryError> {
        let document: Document = serde_json::from_slice(json)?;
        if !document.versions.contains(&PROTOCOL_VERSION) {
            return Err(DiscoveryError::Version(document.versions));
        }
        let bad_url = || DiscoveryError::BaseUrl(base_url.to_owned());
        let (scheme, rest) = base_url.split_once("://").ok_or_else(bad_url)?;
        let scheme = match scheme {
            "http" => "ws",
            "https" => "wss",
            _ => return Err(bad_url()),
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.is_empty() || authority.contains('@') {
            return Err(bad_url());
        }
        let websocket = document.websocket.map(|path| {
            let slash = if path.starts_with('/') { "" } else { "/" };
            format!("{scheme}://{authority}{slash}{path}")
        });
        let fingerprint = document.quic_certificate_sha256.as_deref().map(fingerprint).transpose()?;
        let quic = document.quic.map(|address| quic_target(&address, host_of(authority), fingerprint)).transpose()?;
        Ok(Self { websocket, quic })
    }
}

fn quic_target(address: &str, base_host: &str, pin: Option<[u8; 32]>) -> Result<QuicTarget, DiscoveryError> {
    let bad = || DiscoveryError::Quic(address.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_unspecified = |host: &str| host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    let host = if is_unspecified(host) { base_host } else { host };
    if host.is_empty() {
        return Err(bad());
    }
    // TCP takes an unspecified address for this machine's own; QUIC refuses it.
    let host = match host.parse() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.to_string(),
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.to_string(),
        _ => host.to_owned(),
    };
    Ok(QuicTarget { host, port, certificate_sha256: pin })
}

/// The host of `host`, `host:port`, `[v6]` or `[v6]:port`.
pub(crate) fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

fn fingerprint(hex: &str) -> Result<[u8; 32], DiscoveryError> {
    let digits = hex.as_bytes();
    if digits.len() != 64 {
        return Err(DiscoveryError::Fingerprint);
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16).ok_or(DiscoveryError::Fingerprint)?;
            *byte = *byte << 4 | u8::try_from(value).map_err(|_| DiscoveryError::Fingerprint)?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_names_both_transports() {
        let hex = "0f".repeat(32);
        let json = format!(
            r#"{{"versions":[1],"websocket":"/ws","quic":"0.0.0.0:8443","quic_certificate_sha256":"{hex}","api":"/","new":{{}}}}"#
        );
        let target = Target::from_discovery("http://example.org:8080/", json.as_bytes()).unwrap();
        assert_eq!(target.websocket.as_deref(), Some("ws://example.org:8080/ws"));
        let quic = QuicTarget { host: "example.org".into(), port: 8443, certificate_sha256: Some([0x0f; 32]) };
        assert_eq!(target.quic, Some(quic));
    }

    #[test]
    fn an_ipv6_address_loses_its_brackets_and_no_quic_is_fine() {
        let json = br#"{"versions":[1,2],"websocket":"/ws","quic":"[::]:1"}"#;
        let target = Target::from_discovery("https://[::1]:443", json).unwrap();
        assert_eq!(target.websocket.as_deref(), Some("wss://[::1]:443/ws"));
        assert_eq!(target.quic.unwrap().host, "::1");
        let unspecified = br#"{"versions":[1],"quic":"0.0.0.0:1"}"#;
        let host = |base: &str| Target::from_discovery(base, unspecified).unwrap().quic.unwrap().host;
        assert_eq!((host("http://0.0.0.0:8080"), host("http://[::]:8080")), ("127.0.0.1".into(), "::1".into()));
        let target = Target::from_discovery("http://h", br#"{"versions":[1]}"#).unwrap();
        assert_eq!(target, Target { websocket: None, quic: None });
    }

    #[test]
    fn what_is_of_no_use_is_refused() {
        let good: &[u8] = br#"{"versions":[1]}"#;
        assert!(matches!(Target::from_discovery("ftp://h", good), Err(DiscoveryError::BaseUrl(_))));
        assert!(matches!(Target::from_discovery("http://", good), Err(DiscoveryError::BaseUrl(_))));
        let refused = |json: &[u8]| Target::from_discovery("http://h", json).unwrap_err();
        assert!(matches!(refused(b"{"), DiscoveryError::Json(_)));
        assert!(matches!(refused(br#"{"versions":[2]}"#), DiscoveryError::Version(_)));
        assert!(matches!(refused(br#"{"versions":[1],"quic":"h"}"#), DiscoveryError::Quic(_)));
        let short = br#"{"versions":[1],"quic_certificate_sha256":"00"}"#;
        assert!(matches!(refused(short), DiscoveryError::Fingerprint));
    }
}
