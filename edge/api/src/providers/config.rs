//! Which providers a deployment has, and what must hold of each.

use std::fmt;

use openidconnect::url::{Host, Url};
use panda_storage::user_store::{FieldError, ProviderName};

/// Login providers of a deployment.
pub const LOGIN_PROVIDERS_MAX: usize = 16;
/// The issuer of the preset `google`.
pub const GOOGLE: &str = "https://accounts.google.com";
/// Where the preset `github` is, if nowhere else.
pub const GITHUB: &str = "https://github.com";
/// The most characters of a label.
const LABEL_CHARS_MAX: usize = 64;
/// How the path of a redirect address ends, behind `/login/` and the name.
const REDIRECT_PATH_END: &str = "/callback";

/// What a provider speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderKind {
    /// OpenID Connect, found by discovery.
    OpenIdConnect,
    /// GitHub's OAuth 2.0, whose users are asked for.
    GitHub,
}

/// A login provider. Its `Debug` form shows nothing of its secret.
#[derive(Clone)]
pub struct LoginProvider {
    /// What it is called in addresses and beside identities; never given to another provider.
    pub name: ProviderName,
    /// What it speaks.
    pub kind: ProviderKind,
    /// What people read.
    pub label: String,
    /// Its address: of OpenID Connect the issuer, byte for byte as it calls itself.
    pub issuer: String,
    /// As what this deployment is known there.
    pub client_id: String,
    /// Absent of a public client.
    pub client_secret: Option<String>,
    /// What is asked for; empty: what a login needs.
    pub scopes: Vec<String>,
    /// Where the provider sends browsers back, as it is registered there: this API's `/login/{name}/callback`.
    pub redirect_uri: String,
}

impl fmt::Debug for LoginProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoginProvider({} at {:?}, hidden)", self.name, self.issuer)
    }
}

impl LoginProvider {
    /// Checks all that can be seen without asking the provider.
    ///
    /// # Errors
    /// Which field, and a sentence.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        if self.name.as_str() == "provider" {
            return Err(("name", "`provider` is a word of this API: choose another name".to_owned()));
        }
        check_address(&self.issuer).map_err(|why| ("issuer", why))?;
        if self.client_id.is_empty() {
            return Err(("client_id", "is what this deployment is called at the provider".to_owned()));
        }
        let label = self.label.chars().count();
        if !(1..=LABEL_CHARS_MAX).contains(&label) || self.label.chars().any(char::is_control) {
            return Err(("label", FieldError::TooLong(LABEL_CHARS_MAX).to_string()));
        }
        let plain = |scope: &String| !scope.is_empty() && scope.bytes().all(|byte| byte.is_ascii_graphic());
        if self.scopes.len() > 32 || !self.scopes.iter().all(plain) {
            return Err(("scopes", "are at most 32 words without spaces".to_owned()));
        }
        if self.is_oidc() && !self.scopes.is_empty() && !self.scopes.iter().any(|scope| scope == "openid") {
            return Err(("scopes", "of OpenID Connect have `openid` among them".to_owned()));
        }
        let end = format!("/login/{}{REDIRECT_PATH_END}", self.name);
        let redirect = check_address(&self.redirect_uri).map_err(|why| ("redirect_uri", why))?;
        if redirect.path() != end {
            return Err(("redirect_uri", format!("is this API's own address and {end} behind it")));
        }
        Ok(())
    }

    pub(crate) const fn is_oidc(&self) -> bool {
        matches!(self.kind, ProviderKind::OpenIdConnect)
    }

    pub(crate) fn scopes(&self) -> Vec<&str> {
        if !self.scopes.is_empty() {
            return self.scopes.iter().map(String::as_str).collect();
        }
        match self.kind {
            ProviderKind::OpenIdConnect => vec!["openid", "email", "profile"],
            ProviderKind::GitHub => vec!["read:user", "user:email"],
        }
    }

    /// The origin of this deployment as browsers know it.
    pub(crate) fn own_origin(&self) -> Option<String> {
        origin_of(&self.redirect_uri)
    }
}

/// The origin of an address, as browsers write it.
pub(super) fn origin_of(address: &str) -> Option<String> {
    let url = Url::parse(address).ok()?;
    url.has_host().then(|| url.origin().ascii_serialization())
}

/// An `https` address without user, query and fragment; `http` on this machine only, for tries.
pub(super) fn check_address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| "is an address such as https://login.example".to_owned())?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    if !plain || !url.has_host() {
        return Err("is an address without user, query and fragment".to_owned());
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err("begins with https:// (http:// is for 127.0.0.1, [::1] and localhost)".to_owned()),
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider() -> LoginProvider {
        LoginProvider {
            name: ProviderName::parse("corp").unwrap(),
            kind: ProviderKind::OpenIdConnect,
            label: "Corp".to_owned(),
            issuer: "https://login.corp.example/".to_owned(),
            client_id: "panda".to_owned(),
            client_secret: Some("sesame".to_owned()),
            scopes: Vec::new(),
            redirect_uri: "https://chat.example/login/corp/callback".to_owned(),
        }
    }

    fn refused(change: impl FnOnce(&mut LoginProvider)) -> &'static str {
        let mut provider = provider();
        change(&mut provider);
        provider.check().map_or_else(|(field, _)| field, |()| "nothing")
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_field() {
        assert_eq!(refused(|_| ()), "nothing");
        assert_eq!(refused(|it| it.name = ProviderName::parse("provider").unwrap()), "name");
        for issuer in ["http://login.corp.example", "ftp://x", "x", "https://u:p@x.example", "https://x.example/?a", ""]
        {
            assert_eq!(refused(|it| issuer.clone_into(&mut it.issuer)), "issuer", "{issuer}");
        }
        assert_eq!(refused(|it| it.issuer = "http://127.0.0.1:9".into()), "nothing");
        assert_eq!(refused(|it| it.client_id.clear()), "client_id");
        assert_eq!(refused(|it| it.label = "\u{7}".into()), "label");
        assert_eq!(refused(|it| it.scopes = vec!["email".into()]), "scopes");
        assert_eq!(refused(|it| it.scopes = vec!["openid".into(), "a b".into()]), "scopes");
        for uri in [
            "https://chat.example/login/other/callback",
            "https://chat.example/x/login/corp/callback",
            "https://chat.example/login/corp/callback?next=https://evil.example",
            "http://chat.example/login/corp/callback",
        ] {
            assert_eq!(refused(|it| uri.clone_into(&mut it.redirect_uri)), "redirect_uri", "{uri}");
        }
    }

    #[test]
    fn the_own_origin_is_as_browsers_write_it_and_no_secret_is_shown() {
        assert_eq!(provider().own_origin().as_deref(), Some("https://chat.example"));
        assert_eq!(origin_of("http://127.0.0.1:8080/x").as_deref(), Some("http://127.0.0.1:8080"));
        assert_eq!(origin_of("https://chat.example:443/x").as_deref(), Some("https://chat.example"));
        assert_eq!(origin_of("data:text/plain,x"), None);
        assert!(!format!("{:?}", provider()).contains("sesame"));
    }
}
