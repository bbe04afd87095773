//! What a browser may do with the page: run and load what this server gave it, talk to this address, and show pictures.

use axum::http::HeaderValue;

/// Bytes of a Host header that is repeated in the policy: the longest DNS name, a colon and a port.
const HOST_BYTES_MAX: usize = 259;

/// No script and style in the page itself. Pictures of people may come from any address over TLS: the page loads them
/// only for who asked for it, because an address that is asked for a picture learns who looks.
const BEFORE_CONNECT: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; \
     font-src 'self'; worker-src 'self'; manifest-src 'self'; connect-src 'self'";
const BEHIND_CONNECT: &str = "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Nothing of a device is asked for.
pub(super) const PERMISSIONS: HeaderValue =
    HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()");

/// The policy for a page of this host. Not every browser counts the WebSocket of the same address to `'self'`, so it is
/// named; a host that is none is left out.
pub(super) fn of(host: Option<&HeaderValue>) -> HeaderValue {
    let sockets = host.and_then(plain).map_or_else(String::new, |host| format!(" ws://{host} wss://{host}"));
    let policy = format!("{BEFORE_CONNECT}{sockets}{BEHIND_CONNECT}");
    HeaderValue::from_str(&policy).expect("printable ASCII: the host was looked at")
}

/// A host, with or without a port, that can mean nothing else in a policy.
fn plain(host: &HeaderValue) -> Option<&str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    let host = host.to_str().ok()?;
    ((1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_plain)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn for_host(host: &str) -> String {
        of(Some(&HeaderValue::from_str(host).unwrap())).to_str().unwrap().to_owned()
    }

    #[test]
    fn a_host_is_named_and_never_opens_the_policy() {
        for host in ["localhost:8080", "[::1]:8080", "chat.example"] {
            assert!(for_host(host).contains(&format!("connect-src 'self' ws://{host} wss://{host};")), "{host}");
        }
        for host in ["a; script-src *", "a b", "*", "a,b", "", &"a".repeat(260)] {
            assert!(for_host(host).contains("connect-src 'self'; base-uri"), "{host}");
        }
        assert!(of(None).to_str().unwrap().contains("connect-src 'self'; base-uri"));
    }
}
