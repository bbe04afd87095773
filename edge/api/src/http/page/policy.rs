//! What a browser may do with the page: run and load what this server gave it, talk to this address and the
//! deployment's edges, and show pictures.

use axum::http::HeaderValue;

/// Bytes of a Host header that is repeated in the policy: the longest DNS name, a colon and a port.
const HOST_BYTES_MAX: usize = 259;

/// No script and style in the page itself. Pictures of people may come from any address over TLS: the page loads those that
/// this deployment does not keep only for who asked for it, because an address that is asked for a picture learns who looks.
const BEFORE_PICTURES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:";
const BEFORE_CONNECT: &str = "; font-src 'self'; worker-src 'self'; manifest-src 'self'; connect-src 'self'";
const BEHIND_CONNECT: &str = "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Nothing of a device is asked for.
pub(super) const PERMISSIONS: HeaderValue =
    HeaderValue::from_static("camera=(), geolocation=(), microphone=(), payment=(), usb=()");

/// The policy for a page of this host, whose deployment has edges at these origins. Not every browser counts the WebSocket
/// of the same address to `'self'`, so it is named. A host that is none is left out, and an edge of no such origin.
pub(super) fn of(host: Option<&HeaderValue>, edges: &[String]) -> HeaderValue {
    let host = host.and_then(|host| host.to_str().ok()).filter(|host| is_plain(host));
    let own = host.map_or_else(String::new, |host| format!(" ws://{host} wss://{host}"));
    let others: String = edges.iter().filter_map(|edge| reached_at(edge)).collect();
    // An edge that is on this machine, without TLS, keeps pictures, too.
    let plain = edges.iter().filter(|edge| edge.starts_with("http://") && reached_at(edge).is_some());
    let pictures: String = plain.map(|edge| format!(" {edge}")).collect();
    let policy = format!("{BEFORE_PICTURES}{pictures}{BEFORE_CONNECT}{own}{others}{BEHIND_CONNECT}");
    HeaderValue::from_str(&policy).expect("printable ASCII: hosts were looked at")
}

/// HTTP and WebSocket of an edge.
fn reached_at(edge: &str) -> Option<String> {
    let (scheme, host) = edge.split_once("://").filter(|(_, host)| is_plain(host))?;
    match scheme {
        "https" => Some(format!(" https://{host} wss://{host}")),
        "http" => Some(format!(" http://{host} ws://{host}")),
        _ => None,
    }
}

/// Whether this is a host, with or without a port, that can mean nothing else in a policy.
fn is_plain(host: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(host: Option<&str>, edges: &[&str]) -> String {
        let host = host.map(|host| HeaderValue::from_str(host).unwrap());
        let edges: Vec<_> = edges.iter().map(|edge| (*edge).to_owned()).collect();
        of(host.as_ref(), &edges).to_str().unwrap().to_owned()
    }

    fn for_host(host: &str) -> String {
        text(Some(host), &[])
    }

    #[test]
    fn a_host_is_named_and_never_opens_the_policy() {
        for host in ["localhost:8080", "[::1]:8080", "chat.example"] {
            assert!(for_host(host).contains(&format!("connect-src 'self' ws://{host} wss://{host};")), "{host}");
        }
        for host in ["a; script-src *", "a b", "*", "a,b", "", &"a".repeat(260)] {
            assert!(for_host(host).contains("connect-src 'self'; base-uri"), "{host}");
        }
        assert!(text(None, &[]).contains("connect-src 'self'; base-uri"));
    }

    #[test]
    fn the_edges_of_a_deployment_are_named_and_nothing_else_is() {
        let policy = text(Some("a.example"), &["https://a.example", "http://[::1]:8080", "tauri://b", "https://c; d"]);
        assert!(
            policy.contains(
                "connect-src 'self' ws://a.example wss://a.example https://a.example wss://a.example \
                 http://[::1]:8080 ws://[::1]:8080; base-uri"
            ),
            "{policy}"
        );
        assert!(policy.contains("img-src 'self' https: http://[::1]:8080; font-src"), "{policy}");
    }
}
