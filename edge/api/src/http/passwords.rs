//! New passwords: by the old one, or by a link that was mailed.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use panda_protocol::{ErrorCode, UserId};
use panda_storage::UserStore as _;
use panda_storage::user_store::{Email, MailPurpose, PasswordChange, PasswordHash, User, Username};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Peer;
use super::auth::{Caller, CallersLogin};
use super::body::{Body, InPath, Json};
use super::email::{self, bad_link, send_token, tell};
use super::identity::{check_new_password, hashed, parse_email, take_address, take_guess};
use super::logins::{Ended, note};
use super::problem::{Answer, Problem};
use super::throttle;
use super::uninterrupted::uninterrupted;
use super::users::must_be_own;
use crate::Api;
use crate::backend::Backend;
use crate::config::PASSWORD_BYTES_MAX;
use crate::identity::MailedToken;
use crate::mail::{Letter, Mailer};

/// One of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forgotten {
    username: Option<String>,
    /// One that was proven.
    email: Option<String>,
}

/// Nothing more is told.
#[derive(Serialize, ToSchema)]
pub(crate) struct Accepted {
    accepted: bool,
}

// No `Debug`: these hold tokens and passwords.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reset {
    token: String,
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    old: String,
    new: String,
}

enum Who {
    Username(Username),
    Email(Email),
}

#[utoipa::path(
    post,
    path = "/password/forgot",
    tag = "identity",
    summary = "Sends a link for a new password, if there is an account with a proven mail address",
    request_body = Forgotten,
    responses((status = 202, description = "Whether or not there is such an account", body = Accepted)),
)]
pub(crate) async fn forgot<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    Body(asked): Body<Forgotten>,
) -> Answer<(StatusCode, Json<Accepted>)> {
    let mailer = email::mailer(&api)?.clone();
    let who = match (asked.username, asked.email) {
        (Some(name), None) => {
            Who::Username(Username::parse(&name).map_err(|error| Problem::of_field("username", error))?)
        }
        (None, Some(email)) => {
            let none = || Problem::field("email", "an email address looks like name@example.org");
            Who::Email(parse_email(Some(&email))?.ok_or_else(none)?)
        }
        _ => return Err(Problem::field("username", "name the account by either `username` or `email`")),
    };
    take_address(&api, peer).await?;
    let busy = || Problem::new(ErrorCode::Overloaded).title("Too many of these are waiting; try again in a moment.");
    let place = Arc::clone(&api.forgetting).try_acquire_owned().map_err(|_| busy())?;
    // Behind the answer, so that neither it nor its time says whether there is such an account.
    tokio::spawn(async move {
        if let Err(problem) = send_reset(&api, &mailer, who).await {
            tracing::info!(code = problem.code().label(), "a link for a new password was not sent");
        }
        drop(place);
    });
    Ok((StatusCode::ACCEPTED, Json(Accepted { accepted: true })))
}

async fn send_reset<B: Backend>(api: &Api<B>, mailer: &Mailer, who: Who) -> Answer<()> {
    let user = match who {
        Who::Username(name) => api.parts.users.users_by_name(vec![name]).await?.pop().flatten(),
        Who::Email(email) => api.parts.users.user_by_verified_email(email).await?,
    };
    let Some(user) = user.filter(|user| user.email_verified) else { return Ok(()) };
    let Some(email) = user.email.clone() else { return Ok(()) };
    let letter = |token| Letter::Reset { username: user.username.clone(), token };
    send_token(api, mailer, &user, &email, MailPurpose::Reset, letter).await
}

#[utoipa::path(
    post,
    path = "/password/reset",
    tag = "identity",
    summary = "Sets a new password by the token of a link, and ends all logins",
    request_body = Reset,
    responses((status = 200, description = "How many logins were ended", body = Ended)),
)]
pub(crate) async fn reset<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    Body(asked): Body<Reset>,
) -> Answer<Json<Ended>> {
    check_new_password(&asked.password)?;
    take_address(&api, peer).await?;
    let digest = MailedToken::parse(&asked.token).ok_or_else(bad_link)?.digest();
    // A link that is not good costs no hash. The store decides again: two may bring one at once.
    api.parts.users.mail_token(digest, MailPurpose::Reset, api.now()).await?.ok_or_else(bad_link)?;
    let password = hashed(&api, api.hasher.hash(&asked.password).await)?;
    uninterrupted(async move {
        let (user, ended) = api.parts.users.reset_password(digest, password, api.now()).await?.ok_or_else(bad_link)?;
        note(&api, &ended);
        changed(&api, &user).await;
        Ok(Json(Ended::of(&ended)))
    })
    .await
}

#[utoipa::path(
    put,
    path = "/user/{id}/password",
    tag = "identity",
    summary = "Changes one's own password, and ends all other logins",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    request_body = NewPassword,
    responses(
        (status = 200, description = "How many logins were ended", body = Ended),
        (status = 412, description = "`version_conflict`: it was changed meanwhile"),
    ),
    security(("access_token" = [])),
)]
pub(crate) async fn change<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: CallersLogin,
    Extension(peer): Extension<Peer>,
    InPath(id): InPath<String>,
    Body(asked): Body<NewPassword>,
) -> Answer<Json<Ended>> {
    must_be_own(&api, Caller(caller.user), &id).await?;
    check_new_password(&asked.new)?;
    let (user, before) = prove(&api, caller.user, peer, &asked.old).await?;
    let password = hashed(&api, api.hasher.hash(&asked.new).await)?;
    let change = PasswordChange { user: user.id, before, password, keep: caller.login, now: api.now() };
    uninterrupted(async move {
        let ended = api.parts.users.change_password(change).await?;
        let ended = ended.ok_or_else(|| Problem::new(ErrorCode::VersionConflict))?;
        note(&api, &ended);
        changed(&api, &user).await;
        Ok(Json(Ended::of(&ended)))
    })
    .await
}

/// Refuses whoever does not know the password of the account; returns what was proven.
pub(crate) async fn prove<B: Backend>(
    api: &Api<B>,
    user: UserId,
    peer: Peer,
    password: &str,
) -> Answer<(User, PasswordHash)> {
    let found = api.parts.users.credential_of(user).await?.ok_or_else(|| Problem::new(ErrorCode::NotFound))?;
    let Some(hash) = found.password else {
        let none = Problem::new(ErrorCode::Forbidden).title("This account has no password yet.");
        return Err(none.detail("ask for a link that sets one (`/password/forgot`)"));
    };
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::new(ErrorCode::BadCredentials).title("The password is wrong."));
    }
    let tried = throttle::begin(api, &found.user.username, peer).await?;
    take_guess(api, &found.user.username, peer).await?;
    if !hashed(api, api.hasher.verify(password, Some(hash.clone())).await)? {
        tried.failed(api).await;
        return Err(Problem::new(ErrorCode::BadCredentials).title("The password is wrong."));
    }
    tried.succeeded(api).await;
    Ok((found.user, hash))
}

async fn changed<B: Backend>(api: &Api<B>, user: &User) {
    tracing::info!(user = %user.id, "a password was changed");
    tell(api, user, Letter::PasswordChanged { username: user.username.clone() }).await;
}
