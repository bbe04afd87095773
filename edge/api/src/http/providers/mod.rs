//! Logging in at another provider (OAuth 2.0 with PKCE, OpenID Connect).
//!
//! This API has no cookies, so a login is bound to the browser that began it by a secret: the page makes a random one, keeps it
//! (in `sessionStorage`), and sends its SHA-256 when it begins. What comes of the login is a sealed code that is of use
//! once, soon, and to whoever shows that secret. So whoever lures somebody else's browser into a login of his own (login
//! CSRF) gets it a code that it cannot redeem, and whoever reads a code in a history or a log has no secret for it.
//!
//! A browser is sent back to a page of this deployment only: the origin of the provider's `redirect_uri`, or one that
//! `http.origins` or `http.edges` lists; or to a program on its own machine. Otherwise whoever began and sent somebody
//! else to the provider would be given that person's code, and has its secret.

mod accounts;
mod callback;
mod devices;
mod flow;
mod usernames;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use openidconnect::url::Url;
use panda_access::FlowStep;
use panda_protocol::{ErrorCode, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use self::accounts::{begin_link, identities, link, redeem, unlink};
pub(crate) use self::callback::callback;
pub(crate) use self::devices::{begin_device, poll_device};
use self::flow::{Back, STATE_S};
use super::Peer;
use super::body::{Body, InPath, Json};
use super::identity::take_address;
use super::problem::{Answer, Problem};
use crate::Api;
use crate::backend::Backend;
use crate::providers::{Asking, Provider, ProviderError};

pub(crate) use self::accounts::{__path_begin_link, __path_identities, __path_link, __path_redeem, __path_unlink};
pub(crate) use self::callback::__path_callback;
pub(crate) use self::devices::{__path_begin_device, __path_poll_device};

/// A login that begins.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Begin {
    /// The SHA-256 of a secret, in base64 (URL-safe, without padding).
    challenge: String,
    /// Where a program of the browser's machine listens for the answer, over plain HTTP: `127.0.0.1` or `[::1]`, a port, and the
    /// path `/`. Absent: this is a page.
    return_to: Option<String>,
}

/// Where to go on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Begun {
    /// The provider's.
    authorize_url: String,
    /// Seconds.
    expires_in: u64,
}

#[utoipa::path(
    post,
    path = "/login/{provider}",
    tag = "identity",
    summary = "Begins a login at a provider",
    params(("provider" = String, Path, description = "A name of `login_providers`")),
    request_body = Begin,
    responses((status = 200, description = "Where the browser goes", body = Begun)),
)]
pub(crate) async fn begin<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    InPath(provider): InPath<String>,
    headers: HeaderMap,
    Body(asked): Body<Begin>,
) -> Answer<Json<Begun>> {
    take_address(&api, peer).await?;
    begin_at(&api, &provider, &headers, asked, None).await
}

/// Sends a browser to a provider.
async fn begin_at<B: Backend>(
    api: &Api<B>,
    provider: &str,
    headers: &HeaderMap,
    asked: Begin,
    linking: Option<UserId>,
) -> Answer<Json<Begun>> {
    let provider = known(api, provider)?;
    flow::check_challenge(&asked.challenge)?;
    let back = match asked.return_to.as_deref() {
        Some(address) => Back::Loopback(loopback(address)?),
        None => Back::Page(page(api, provider, headers)?),
    };
    let state = flow::State {
        id: rand::random(),
        ends_us: flow::ends(api, STATE_S),
        provider: provider.config.name.to_string(),
        nonce: flow::secret(),
        verifier: flow::secret(),
        challenge: asked.challenge,
        back,
        linking: linking.map(|user| user.to_string()),
    };
    let sealed = flow::seal(api, FlowStep::State, &state)?;
    let challenge = flow::hashed(&state.verifier);
    let asking = Asking { state: &sealed, nonce: &state.nonce, challenge: &challenge };
    let authorize_url = provider.authorize_url(&asking).await.map_err(|error| refusal(provider, error))?;
    Ok(Json(Begun { authorize_url, expires_in: STATE_S }))
}

fn known<'a, B: Backend>(api: &'a Api<B>, provider: &str) -> Answer<&'a Provider> {
    api.providers.named(provider).ok_or_else(|| {
        let title = "This deployment has no such login provider.";
        Problem::new(ErrorCode::NotFound).title(title).detail("/.well-known/panda lists those that there are")
    })
}

/// The origin of the page that asks, if browsers are sent back to it.
fn page<B: Backend>(api: &Api<B>, provider: &Provider, headers: &HeaderMap) -> Answer<String> {
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let Some(origin) = origin else {
        return Err(Problem::field("return_to", "a program says where it listens, as http://127.0.0.1:<port>/"));
    };
    let own = provider.config.own_origin();
    let allowed = api.config.origins.iter().chain(&own);
    if let Some(origin) = allowed.into_iter().find(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        // As the configuration has it, and nothing of the request.
        return Ok(origin.clone());
    }
    let detail = format!("open the page at {}", own.unwrap_or_default());
    Err(Problem::new(ErrorCode::OriginRefused)
        .title("Logins do not come back to a page of this address.")
        .detail(detail))
}

/// The address of a program on the browser's own machine (RFC 8252, section 7.3): an IP address, which no name server can
/// point elsewhere.
fn loopback(address: &str) -> Answer<String> {
    let refused = || Problem::field("return_to", "it is http://127.0.0.1:<port>/ or http://[::1]:<port>/");
    let url = Url::parse(address).map_err(|_| refused())?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let named_nobody = url.username().is_empty() && url.password().is_none();
    if url.scheme() != "http" || !is_loopback || !is_bare || !named_nobody || url.port().is_none() {
        return Err(refused());
    }
    Ok(url.into())
}

/// What a provider's failure is to whoever asks.
fn refusal(provider: &Provider, error: ProviderError) -> Problem {
    let name = &provider.config.name;
    match error {
        ProviderError::Unavailable(_) | ProviderError::Unbelievable(_) => {
            tracing::warn!(provider = %name, %error, "a login provider cannot be used");
            let title = "The login provider cannot be asked now; try again in a moment.";
            Problem::new(ErrorCode::Unavailable).title(title)
        }
        ProviderError::Lacks(_) => {
            Problem::new(ErrorCode::NotFound).title("The login provider does not do that.").detail(error.to_string())
        }
        ProviderError::Refused(_) => {
            tracing::warn!(provider = %name, %error, "a login at a provider was refused");
            let title = "The login provider's answer is not taken; begin again.";
            Problem::new(ErrorCode::BadCredentials).title(title)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_on_the_browsers_own_machine_and_nowhere_else() {
        for address in ["http://127.0.0.1:4711/", "http://[::1]:4711/", "http://127.0.0.1:4711"] {
            assert!(loopback(address).is_ok_and(|back| back.ends_with(":4711/")), "{address}");
        }
        for address in [
            "https://127.0.0.1:4711/",
            "http://127.0.0.1/",
            "http://localhost:4711/",
            "http://127.0.0.1.evil.example:4711/",
            "http://127.0.0.1:4711@evil.example/",
            "http://evil.example:4711/",
            "http://127.0.0.1:4711/x",
            "http://127.0.0.1:4711/?a=b",
            "http://127.0.0.1:4711/#x",
            "http://192.0.2.1:4711/",
            "//127.0.0.1:4711/",
            "javascript:alert(1)",
            "",
        ] {
            assert!(loopback(address).is_err(), "{address}");
        }
    }
}
