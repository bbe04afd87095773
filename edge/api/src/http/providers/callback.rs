//! A browser comes back from a provider.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use panda_access::FlowStep;
use panda_protocol::ErrorCode;
use serde::Deserialize;

use super::super::Peer;
use super::super::body::{Asked, InPath};
use super::super::identity::take_address;
use super::super::problem::{Answer, Problem};
use super::flow::{self, Outcome, RESULT_S, Told};
use super::known;
use crate::Api;
use crate::backend::Backend;
use crate::providers::{Provider, ProviderError};

/// Bytes of a provider's code.
const CODE_BYTES_MAX: usize = 4_096;

/// What a provider sends a browser back with (RFC 6749, section 4.1.2; RFC 9207). Others of its parameters are not looked at.
#[derive(Deserialize)]
pub(crate) struct Returned {
    state: Option<String>,
    code: Option<String>,
    iss: Option<String>,
    error: Option<String>,
}

#[utoipa::path(
    get,
    path = "/login/{provider}/callback",
    tag = "identity",
    summary = "A browser comes back from a provider",
    params(
        ("provider" = String, Path, description = "A name of `login_providers`"),
        ("state" = Option<String>, Query, description = "As the login began with it"),
        ("code" = Option<String>, Query, description = "The provider's"),
        ("iss" = Option<String>, Query, description = "Whose answer it is (RFC 9207)"),
        ("error" = Option<String>, Query, description = "Why there is no code"),
    ),
    responses((status = 303, description = "To the page, or to the program on the browser's machine"), (status = 401, description = "`token_invalid`, `token_expired`: the state is none of this provider and deployment, or too old")),
)]
pub(crate) async fn callback<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    InPath(provider): InPath<String>,
    Asked(returned): Asked<Returned>,
) -> Answer<Response> {
    take_address(&api, peer).await?;
    let provider = known(&api, &provider)?;
    let state: Option<flow::State> =
        returned.state.as_deref().and_then(|state| flow::open(&api, FlowStep::State, state));
    // Nothing that was not sealed here says where to go. The path names the provider that was asked, so that an answer of
    // another one is not taken for its (mix-up).
    let state = state.filter(|state| state.provider == provider.config.name.as_str());
    let state = state.ok_or_else(|| {
        Problem::new(ErrorCode::TokenInvalid).title("This login was not begun here, or was changed; begin again.")
    })?;
    if flow::is_over(&api, state.ends_us) {
        return Err(Problem::new(ErrorCode::TokenExpired).title("This login took too long; begin again."));
    }
    let back = state.back.clone();
    Ok(match outcome(&api, provider, returned, state).await {
        Ok(code) => to(&back.with("login", &code)),
        Err(label) => to(&back.with("login_error", label)),
    })
}

/// A code for whoever began, or in a word why there is none.
async fn outcome<B: Backend>(
    api: &Api<B>,
    provider: &Provider,
    returned: Returned,
    state: flow::State,
) -> Result<String, &'static str> {
    let name = &provider.config.name;
    let failed = |error: ProviderError| {
        tracing::warn!(provider = %name, %error, "a login at a provider was not taken");
        match error {
            ProviderError::Unavailable(_) => "unavailable",
            _ => "refused",
        }
    };
    provider.answers_as_itself(returned.iss.as_deref()).await.map_err(failed)?;
    if let Some(error) = returned.error {
        return Err(if error == "access_denied" { "denied" } else { "refused" });
    }
    let code = returned.code.filter(|code| (1..=CODE_BYTES_MAX).contains(&code.len())).ok_or("refused")?;
    let person = provider.exchange(&code, &state.verifier, &state.nonce).await.map_err(failed)?;
    let outcome = Outcome {
        id: state.id,
        ends_us: flow::ends(api, RESULT_S),
        challenge: state.challenge,
        linking: state.linking,
        told: Told::new(name, person),
    };
    flow::seal(api, FlowStep::Result, &outcome).map_err(|_| "refused")
}

fn to(address: &str) -> Response {
    let location = HeaderValue::from_str(address);
    location.map_or_else(
        |_| Problem::new(ErrorCode::Internal).into_response(),
        |location| (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response(),
    )
}
