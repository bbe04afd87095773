//! Which pages may talk to a server from a browser: one rule for sessions and for the HTTP API.

/// What whoever is refused for its origin is told to do.
pub const ORIGIN_REFUSED: &str = "pages of this origin may connect once http.origins of the configuration has it";

/// Where a page comes from, as the server sees it that it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageOrigin {
    /// One that the configuration lists.
    Listed,
    /// The host that was asked: the server's own page.
    Own,
    /// Any other.
    Foreign,
}

impl PageOrigin {
    /// Of a page with this `Origin` that asked this `Host`.
    ///
    /// The scheme is not compared with the connection's own, because TLS may end in a proxy before it.
    #[must_use]
    pub fn of(origin: &str, host: &str, listed: &[String]) -> Self {
        if listed.iter().any(|one| one.eq_ignore_ascii_case(origin)) {
            return Self::Listed;
        }
        let Some((scheme, authority)) = origin.split_once("://") else { return Self::Foreign };
        let default_port = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => return Self::Foreign,
        };
        let without_default = |name: &'_ str| name.strip_suffix(default_port).unwrap_or(name).to_ascii_lowercase();
        let is_own = !authority.is_empty() && without_default(authority) == without_default(host);
        if is_own { Self::Own } else { Self::Foreign }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_the_same_host_or_listed() {
        let listed = vec!["https://chat.example.org".to_owned()];
        for (origin, host, expected) in [
            ("http://localhost:8080", "localhost:8080", PageOrigin::Own),
            ("https://Chat.example.com", "chat.example.COM", PageOrigin::Own),
            ("https://chat.example.com:443", "chat.example.com", PageOrigin::Own),
            ("http://[::1]:8080", "[::1]:8080", PageOrigin::Own),
            ("https://CHAT.example.org", "other", PageOrigin::Listed),
            ("https://chat.example.org", "chat.example.org", PageOrigin::Listed),
        ] {
            assert_eq!(PageOrigin::of(origin, host, &listed), expected, "{origin}");
        }
        for (origin, host) in [
            ("null", "null"),
            ("https://", ""),
            ("http://localhost:8081", "localhost:8080"),
            ("http://chat.example.com:443", "chat.example.com"),
            ("https://chat.example.org.evil.example", "chat.example.org"),
            ("http://chat.example.org", "other"),
            ("file://host", "host"),
        ] {
            assert_eq!(PageOrigin::of(origin, host, &listed), PageOrigin::Foreign, "{origin}");
        }
    }
}
