//! What a user does with the whole of an account: putting it aside, having it erased, taking everything out.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use panda_storage::UserStore as _;
use panda_storage::user_store::{EndedLogin, PictureUrl, User};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Peer;
use super::auth::{Caller, CallersLogin};
use super::body::{Body, InPath, Json};
use super::chats::{self, ListedChat};
use super::logins::{self, Ended, LoginJson, note};
use super::passwords::prove;
use super::problem::Answer;
use super::rate_limits::take;
use super::uninterrupted::uninterrupted;
use super::users::{must_be_own, of, show_change};
use crate::Api;
use crate::backend::Backend;

// No `Debug`: it holds a password.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnPassword {
    password: String,
}

/// Everything that is kept of an account, but for passwords and tokens, of which digests are kept only.
#[derive(Serialize, ToSchema)]
pub(crate) struct Export {
    profile: ExportedProfile,
    logins: Vec<LoginJson>,
    /// The chats that the account is in; what was said in them is read there.
    chats: Vec<ListedChat>,
}

#[derive(Serialize, ToSchema)]
struct ExportedProfile {
    id: String,
    username: String,
    email: Option<String>,
    email_verified: bool,
    picture: Option<String>,
    version: u64,
    created_us: u64,
    has_password: bool,
}

#[utoipa::path(
    post,
    path = "/user/{id}/deactivate",
    tag = "users",
    summary = "Puts one's own account aside until the next login, and ends all logins",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    request_body = OwnPassword,
    responses((status = 200, description = "How many logins were ended", body = Ended)),
    security(("access_token" = [])),
)]
pub(crate) async fn deactivate<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    Extension(peer): Extension<Peer>,
    InPath(id): InPath<String>,
    Body(proof): Body<OwnPassword>,
) -> Answer<Json<Ended>> {
    must_be_own(&api, caller, &id).await?;
    prove(&api, caller.0, peer, &proof.password).await?;
    uninterrupted(async move {
        let (user, ended) = api.parts.users.deactivate_user(caller.0, api.now()).await?;
        done(&api, &user, &ended).await;
        tracing::info!(user = %user.id, "an account was put aside");
        Ok(Json(Ended::of(&ended)))
    })
    .await
}

#[utoipa::path(
    delete,
    path = "/user/{id}",
    tag = "users",
    summary = "Erases one's own account for ever, and ends all logins",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    request_body = OwnPassword,
    responses((status = 200, description = "How many logins were ended", body = Ended)),
    security(("access_token" = [])),
)]
pub(crate) async fn erase<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    Extension(peer): Extension<Peer>,
    InPath(id): InPath<String>,
    Body(proof): Body<OwnPassword>,
) -> Answer<Json<Ended>> {
    must_be_own(&api, caller, &id).await?;
    prove(&api, caller.0, peer, &proof.password).await?;
    uninterrupted(async move {
        // First: a store of pictures that is away leaves an account whose user can try again.
        if let Some(pictures) = &api.pictures {
            pictures.store.remove_all(caller.0).await?;
        }
        let (user, ended) = api.parts.users.erase_user(caller.0, api.now()).await?;
        done(&api, &user, &ended).await;
        tracing::info!(user = %user.id, "an account was erased");
        Ok(Json(Ended::of(&ended)))
    })
    .await
}

async fn done<B: Backend>(api: &Api<B>, user: &User, ended: &[EndedLogin]) {
    note(api, ended);
    show_change(api, user).await;
}

#[utoipa::path(
    get,
    path = "/user/{id}/export",
    tag = "users",
    summary = "Everything that is kept of one's own account",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    responses((status = 200, description = "Profile, logins, chats", body = Export)),
    security(("access_token" = [])),
)]
pub(crate) async fn export<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: CallersLogin,
    InPath(id): InPath<String>,
) -> Answer<Json<Export>> {
    must_be_own(&api, Caller(caller.user), &id).await?;
    let key = [&b"export "[..], caller.user.as_bytes()].concat();
    take(&api, Some("export"), &key, api.config.exports_per_user).await?;
    let user = of(&api, caller.user).await?;
    let password = api.parts.users.credential_of(caller.user).await?.and_then(|found| found.password);
    let profile = ExportedProfile {
        id: user.id.to_string(),
        username: user.username.to_string(),
        email: user.email.as_ref().map(ToString::to_string),
        email_verified: user.email_verified,
        picture: user.picture.as_ref().map(PictureUrl::to_string),
        version: user.version,
        created_us: user.created.0,
        has_password: password.is_some(),
    };
    let logins = logins::of(&api, caller).await?;
    let chats = chats::all(&api, caller.user).await?;
    Ok(Json(Export { profile, logins, chats }))
}
