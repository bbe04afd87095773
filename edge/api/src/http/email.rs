//! Mail addresses of accounts: proving one, and what is told to them.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use panda_protocol::{ErrorCode, Time, UserId};
use panda_storage::user_store::{Email, MailPurpose, NewMailToken, User};
use panda_storage::{UserStore as _, UserStoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Peer;
use super::auth::Caller;
use super::body::{Body, InPath, Json};
use super::identity::take_address;
use super::problem::{Answer, Problem};
use super::rate_limits::take;
use super::uninterrupted::uninterrupted;
use super::users::{must_be_own, of, show_change};
use crate::Api;
use crate::backend::Backend;
use crate::config::{MAILS_PER_ACCOUNT, VERIFICATION_TTL};
use crate::identity::MailedToken;
use crate::mail::{Letter, MailRefused, Mailer};

#[derive(Serialize, ToSchema)]
pub(crate) struct LinkSent {
    /// The address.
    sent_to: String,
}

// No `Debug`: it holds a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailedProof {
    token: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Proven {
    username: String,
    email: String,
}

#[utoipa::path(
    post,
    path = "/user/{id}/email/verification",
    tag = "identity",
    summary = "Sends a link that proves one's own mail address",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    responses(
        (status = 202, description = "It is on its way", body = LinkSent),
        (status = 409, description = "`nothing_to_do`: the address is proven"),
    ),
    security(("access_token" = [])),
)]
pub(crate) async fn send_verification<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Answer<(StatusCode, Json<LinkSent>)> {
    must_be_own(&api, caller, &id).await?;
    let mailer = mailer(&api)?;
    let user = of(&api, caller.0).await?;
    let none = || Problem::field("email", "this account has no mail address; give it one first");
    let email = user.email.clone().ok_or_else(none)?;
    if user.email_verified {
        return Err(Problem::new(ErrorCode::NothingToDo).title("This address is proven already."));
    }
    let letter = |token| Letter::Verification { username: user.username.clone(), token };
    send_token(&api, mailer, &user, &email, MailPurpose::Verification, letter).await?;
    Ok((StatusCode::ACCEPTED, Json(LinkSent { sent_to: email.to_string() })))
}

#[utoipa::path(
    post,
    path = "/email/verify",
    tag = "identity",
    summary = "Proves a mail address by the token of a link that went there",
    request_body = MailedProof,
    responses((status = 200, description = "Whose it is", body = Proven), (status = 409, description = "`taken`")),
)]
pub(crate) async fn verify<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    Body(proof): Body<MailedProof>,
) -> Answer<Json<Proven>> {
    take_address(&api, peer).await?;
    let token = MailedToken::parse(&proof.token).ok_or_else(bad_link)?;
    let user = uninterrupted(async move {
        let verified = api.parts.users.verify_email(token.digest(), api.now()).await;
        let taken = || Problem::new(ErrorCode::Taken).title("Another account has proven this address.");
        let user = match verified {
            Err(UserStoreError::Taken(_)) => return Err(taken()),
            verified => verified?.ok_or_else(bad_link)?,
        };
        show_change(&api, &user).await;
        tracing::info!(user = %user.id, "a mail address was proven");
        Ok(user)
    })
    .await?;
    let email = user.email.as_ref().map(ToString::to_string).unwrap_or_default();
    Ok(Json(Proven { username: user.username.to_string(), email }))
}

/// How this deployment sends mail.
pub(crate) fn mailer<B: Backend>(api: &Api<B>) -> Answer<&Mailer> {
    let nowhere = "its operator names a mail server (`mail` in the configuration)";
    let none = || Problem::new(ErrorCode::NotFound).title("This deployment sends no mail.").detail(nowhere);
    api.mailer.as_ref().ok_or_else(none)
}

/// Makes a token, stores it, and sends the letter that has it.
pub(crate) async fn send_token<B: Backend>(
    api: &Api<B>,
    mailer: &Mailer,
    user: &User,
    email: &Email,
    purpose: MailPurpose,
    letter: impl FnOnce(String) -> Letter + Send,
) -> Answer<()> {
    let place = mailer.place(email).map_err(refusal)?;
    let token = MailedToken::generate().ok_or_else(|| {
        tracing::error!("a token for a mail cannot be made: the system has no random bytes");
        Problem::new(ErrorCode::Internal)
    })?;
    let created = api.now();
    let lasts = match purpose {
        MailPurpose::Verification => VERIFICATION_TTL,
        MailPurpose::Reset => crate::config::RESET_TTL,
    };
    let ends = Time(created.0.saturating_add(u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX)));
    let new = NewMailToken { digest: token.digest(), user: user.id, purpose, email: email.clone(), created, ends };
    match api.parts.users.add_mail_token(new, MAILS_PER_ACCOUNT).await {
        Err(UserStoreError::NotFound) => return Err(Problem::new(ErrorCode::VersionConflict)),
        added => added?.map_err(|wait| {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
            Problem::new(ErrorCode::RateLimited).retry_after_ms(wait)
        })?,
    }
    place.send(user.id, letter(token.text()));
    Ok(())
}

/// What is said of every token that is not good, whatever the reason.
pub(crate) fn bad_link() -> Problem {
    Problem::field("token", "this link is not good any more, or never was; ask for a new one")
}

/// Tells the proven address that an account had before that it has another one, or none. An address that was only filled in may
/// be a stranger's, who is told nothing.
pub(crate) async fn tell_of_address<B: Backend>(api: &Api<B>, before: &User, now: &User) {
    let same = now.email.as_ref().map(Email::key) == before.email.as_ref().map(Email::key);
    if !same {
        tell(api, before, Letter::AddressChanged { username: now.username.clone() }).await;
    }
}

/// Tells a user by mail of what happened, if there is an address that is proven. Where no mail is sent, and beyond the limit,
/// nobody is told; what happened stands.
pub(crate) async fn tell<B: Backend>(api: &Api<B>, user: &User, letter: Letter) {
    let Some(mailer) = &api.mailer else { return };
    let Some(email) = user.email.as_ref().filter(|_| user.email_verified) else { return };
    if take(api, None, &notices_of(user.id), api.config.notices_per_user).await.is_err() {
        tracing::info!(user = %user.id, "an account was not told by mail of a change: it has had its share of notices");
        return;
    }
    match mailer.place(email) {
        Ok(place) => place.send(user.id, letter),
        Err(why) => tracing::warn!(user = %user.id, ?why, "an account was not told by mail of a change"),
    }
}

fn notices_of(user: UserId) -> Vec<u8> {
    [&b"notice "[..], user.as_bytes()].concat()
}

fn refusal(why: MailRefused) -> Problem {
    match why {
        MailRefused::Busy => {
            Problem::new(ErrorCode::Overloaded).title("Too many mails are waiting; try again in a moment.")
        }
        MailRefused::Address => Problem::field("email", "no mail can be sent to this address; change it first"),
    }
}
