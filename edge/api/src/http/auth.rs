//! Who asks: an access token's user, or a program with an API key.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use panda_access::Neighbourhood;
use panda_protocol::limits::TOKEN_BYTES_MAX;
use panda_protocol::{ErrorCode, LoginId, UserId};
use panda_storage::UserStore as _;
use panda_storage::user_store::{ApiKey, Scopes};

use super::Peer;
use super::problem::{Answer, Problem};
use super::rate_limits;
use crate::Api;
use crate::backend::Backend;
use crate::identity::{API_KEY_PREFIX, api_key_digest};

/// The user of a valid access token, within the user's rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller(pub(crate) UserId);

/// The same, and the login that the token came of; none for a token that a program gave out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallersLogin {
    pub(crate) user: UserId,
    pub(crate) login: Option<LoginId>,
}

/// A program whose API key may provision.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Provisioner;

impl<B: Backend> FromRequestParts<Arc<Api<B>>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<B>>) -> Answer<Self> {
        let CallersLogin { user, .. } = CallersLogin::from_request_parts(parts, api).await?;
        Ok(Self(user))
    }
}

impl<B: Backend> FromRequestParts<Arc<Api<B>>> for CallersLogin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<B>>) -> Answer<Self> {
        let token = bearer(parts)?;
        let access = api.parts.keys.accepted().verify(token, api.now_unix_s()).map_err(|error| {
            let problem = Problem::from(error);
            if !token.starts_with(API_KEY_PREFIX) {
                return problem;
            }
            let title = "This path is for users, not for API keys.";
            problem.title(title).detail("log in and send the access token; an API key is for /bulk/…")
        })?;
        if api.parts.ended.revocations().has_ended(access.user, access.login) {
            return Err(Problem::new(ErrorCode::Revoked));
        }
        let key = [&b"user "[..], access.user.as_bytes()].concat();
        rate_limits::take(api, Some("user"), &key, api.config.requests_per_user).await?;
        Ok(Self { user: access.user, login: access.login })
    }
}

impl<B: Backend> FromRequestParts<Arc<Api<B>>> for Provisioner {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<B>>) -> Answer<Self> {
        let key = program(parts, api).await?;
        if !key.scopes.contains(Scopes::PROVISION) {
            return Err(Problem::new(ErrorCode::Forbidden).detail("this API key may not provision"));
        }
        Ok(Self)
    }
}

/// The API key of a request. The work is the same for every text: a digest, and a question of the store by it. Who brings one
/// that opened nothing here yet is counted before.
async fn program<B: Backend>(parts: &Parts, api: &Arc<Api<B>>) -> Answer<ApiKey> {
    let digest = api_key_digest(bearer(parts)?);
    if !api.programs.have(&digest) {
        let peer = parts.extensions.get::<Peer>().ok_or_else(|| Problem::new(ErrorCode::Internal))?;
        let from = Neighbourhood::of(peer.address.ip()).to_bits().to_be_bytes();
        let key = [&b"api key "[..], &from].concat();
        rate_limits::take(api, None, &key, api.config.api_key_tries_per_address).await?;
    }
    let (found, now) = (api.parts.users.api_key(digest).await?, api.now());
    let refused = match &found {
        Some(key) if key.is_good(now) => None,
        Some(key) if key.revoked.is_some() => Some("this API key was revoked"),
        Some(_) => Some("this API key's time is over"),
        None => Some("this is no API key of this deployment"),
    };
    let (Some(key), None) = (found, refused) else {
        api.programs.refused(&digest);
        return Err(Problem::new(ErrorCode::Unauthenticated).detail(refused.unwrap_or_default()));
    };
    api.programs.opened(digest);
    if let Some(hour) = key.hour_to_note(now) {
        let users = api.parts.users.clone();
        // Nobody is kept waiting or out by that.
        tokio::spawn(async move {
            if let Err(error) = users.note_api_key_use(digest, hour).await {
                tracing::warn!(%error, "the use of an API key is not noted");
            }
        });
    }
    Ok(key)
}

fn bearer(parts: &Parts) -> Answer<&str> {
    let refused = || Problem::new(ErrorCode::Unauthenticated);
    let value = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or_else(refused)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(refused)?;
    if !scheme.eq_ignore_ascii_case("bearer") || token.len() > TOKEN_BYTES_MAX {
        return Err(refused());
    }
    Ok(token.trim())
}
