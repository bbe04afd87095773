//! Logins: refreshing one, and seeing and ending those that a user has.

use std::sync::Arc;

use axum::extract::State;
use panda_access::{RefreshToken, Signer};
use panda_protocol::{ErrorCode, LoginId, Time, UserId};
use panda_storage::user_store::{EndedLogin, Login, LoginLabel, NewLogin, Refresh, Refreshed, User, WhichLogins};
use panda_storage::{StoreError, UserStore as _, UserStoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Caller, CallersLogin};
use super::body::{Body, InPath, Json};
use super::problem::{Answer, Problem};
use super::rate_limits::take;
use super::users::one;
use crate::Api;
use crate::backend::Backend;

const SECOND_US: u64 = 1_000_000;
/// To this is told when a login was used: whoever stole a token could wait in the list for its owner to refresh, and bring
/// it within the grace.
const TOLD_TO_US: u64 = 3_600 * SECOND_US;

/// What opens the API and the binary session, and what goes on with it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Granted {
    access_token: String,
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    #[serde(flatten)]
    kept: Option<Kept>,
    user: GrantedUser,
}

/// The login that goes on, where there was room to keep one.
#[derive(Serialize, ToSchema)]
struct Kept {
    refresh_token: String,
    /// Seconds.
    refresh_expires_in: u64,
    login: String,
}

#[derive(Serialize, ToSchema)]
struct GrantedUser {
    id: String,
    username: String,
}

// No `Debug`: it holds a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    refresh_token: String,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Logins {
    logins: Vec<LoginJson>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct LoginJson {
    id: String,
    label: Option<String>,
    created_us: u64,
    used_us: u64,
    ends_us: u64,
    current: bool,
}

/// How many were ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ended {
    ended: usize,
}

impl Ended {
    pub(crate) const fn of(ended: &[EndedLogin]) -> Self {
        Self { ended: ended.len() }
    }
}

/// The label that a body gives to a login.
pub(crate) fn parse_label(label: Option<&str>) -> Answer<Option<LoginLabel>> {
    label.map(LoginLabel::parse).transpose().map_err(|error| Problem::of_field("label", error))
}

/// Begins a login of a user who proved to be one.
pub(crate) async fn begin<B: Backend>(api: &Api<B>, user: &User, label: Option<LoginLabel>) -> Answer<Granted> {
    let (id, now, limits) = (LoginId::from_random(rand::random()), api.now(), api.config.login_limits());
    let (token, signer) = (new_token(user.id, id)?, signer(api).await?);
    let new = NewLogin { user: user.id, id, label, refresh: token.digest(), created: now };
    let ended = match api.parts.users.add_login(new, limits).await {
        // Who comes to read must not be kept out by a disk that is full.
        Err(UserStoreError::Store(StoreError::Full(why))) => {
            tracing::warn!(user = %user.id, why, "there is no room to keep a login: its access token is given out alone");
            return Ok(grant_unkept(api, &signer, user));
        }
        added => added?,
    };
    note(api, &ended);
    let until = Until { access_ends: limits.access_ends(now, now), ends: limits.ends(now, now) };
    Ok(grant(api, &signer, user, &token, until))
}

#[utoipa::path(
    post,
    path = "/token/refresh",
    tag = "identity",
    summary = "Goes on with a login",
    request_body = Given,
    responses((status = 200, description = "The next tokens", body = Granted), (status = 401, description = "`token_invalid`, `token_expired`, `revoked`")),
)]
pub(crate) async fn refresh<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Body(given): Body<Given>,
) -> Answer<Json<Granted>> {
    let token = read(&api, &given)?;
    let (user, login) = token.of();
    take_use(&api, (user, login)).await?;
    // Before anything is used up: a store that is away then has changed nothing.
    let known = api.parts.users.users(vec![user]).await?.pop().flatten().ok_or_else(|| revoked(NOBODY))?;
    let signer = signer(&api).await?;
    let next = new_token(user, login)?;
    let next_sealed = token.seal_next(&next).map_err(|_| Problem::new(ErrorCode::Internal))?;
    let refresh =
        Refresh { of: (user, login), brought: token.digest(), next: next.digest(), next_sealed, now: api.now() };
    match api.parts.users.refresh_login(refresh, api.config.login_limits()).await? {
        Refreshed::Rotated { access_ends, ends } => {
            Ok(Json(grant(&api, &signer, &known, &next, Until { access_ends, ends })))
        }
        Refreshed::Repeated { next_sealed, access_ends, ends } => {
            api.metrics.refreshes_repeated.inc();
            let next = token.open_next(&next_sealed).map_err(|_| {
                tracing::error!(%user, %login, "a stored refresh token cannot be opened");
                Problem::new(ErrorCode::Internal)
            })?;
            Ok(Json(grant(&api, &signer, &known, &next, Until { access_ends, ends })))
        }
        Refreshed::Expired => {
            Err(Problem::new(ErrorCode::TokenExpired).title("This login's time is over; log in again."))
        }
        Refreshed::Ended => Err(revoked(NOBODY)),
        Refreshed::Reused(ended) => {
            tracing::warn!(%user, %login, "a refresh token came again that was used before: its login was ended");
            api.metrics.refreshes_reused.inc();
            note(&api, &[ended]);
            Err(revoked("the refresh token was used before, so two have it, and the login was ended"))
        }
    }
}

#[utoipa::path(
    post,
    path = "/logout",
    tag = "identity",
    summary = "Ends a login by its refresh token",
    request_body = Given,
    responses((status = 200, description = "How many were ended", body = Ended), (status = 401, description = "`token_invalid`")),
)]
pub(crate) async fn log_out<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Body(given): Body<Given>,
) -> Answer<Json<Ended>> {
    let (user, login) = read(&api, &given)?.of();
    take_use(&api, (user, login)).await?;
    end(&api, user, WhichLogins::One(login)).await
}

#[utoipa::path(
    get,
    path = "/user/{id}/logins",
    tag = "identity",
    summary = "One's own logins",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    responses((status = 200, description = "The last used first", body = Logins)),
    security(("access_token" = [])),
)]
pub(crate) async fn list<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: CallersLogin,
    InPath(named): InPath<String>,
) -> Answer<Json<Logins>> {
    own(&api, caller, &named).await?;
    Ok(Json(Logins { logins: of(&api, caller).await? }))
}

/// The caller's logins, as they are told.
pub(crate) async fn of<B: Backend>(api: &Api<B>, caller: CallersLogin) -> Answer<Vec<LoginJson>> {
    let limits = api.config.login_limits();
    let logins = api.parts.users.logins(caller.user, limits, api.now()).await?;
    let shown = |login: Login| {
        let used = told(login.created, login.used);
        LoginJson {
            id: login.id.to_string(),
            label: login.label.map(|label| label.to_string()),
            created_us: login.created.0,
            used_us: used.0,
            ends_us: limits.ends(login.created, used).0,
            current: caller.login == Some(login.id),
        }
    };
    let mut logins: Vec<_> = logins.into_iter().map(shown).collect();
    // As they came, their order would tell it.
    logins.sort_by(|one, other| other.used_us.cmp(&one.used_us).then_with(|| one.id.cmp(&other.id)));
    Ok(logins)
}

/// When a login was used, to the hour; in its first one, when it began.
fn told(created: Time, used: Time) -> Time {
    Time(used.0 - used.0 % TOLD_TO_US).max(created)
}

#[utoipa::path(
    delete,
    path = "/user/{id}/logins",
    tag = "identity",
    summary = "Ends all of one's own logins but this one",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    responses((status = 200, description = "How many were ended", body = Ended)),
    security(("access_token" = [])),
)]
pub(crate) async fn end_others<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: CallersLogin,
    InPath(named): InPath<String>,
) -> Answer<Json<Ended>> {
    let user = own(&api, caller, &named).await?;
    end(&api, user, caller.login.map_or(WhichLogins::All, WhichLogins::Others)).await
}

#[utoipa::path(
    delete,
    path = "/user/{id}/logins/{login}",
    tag = "identity",
    summary = "Ends one of one's own logins",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`"), ("login" = String, Path, description = "A login's ID")),
    responses((status = 200, description = "How many were ended", body = Ended)),
    security(("access_token" = [])),
)]
pub(crate) async fn end_one<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: CallersLogin,
    InPath((named, login)): InPath<(String, String)>,
) -> Answer<Json<Ended>> {
    let user = own(&api, caller, &named).await?;
    let login = login.parse().map_err(|_| Problem::new(ErrorCode::NotFound))?;
    match end(&api, user, WhichLogins::One(login)).await? {
        Json(Ended { ended: 0 }) => Err(Problem::new(ErrorCode::NotFound)),
        ended => Ok(ended),
    }
}

const NOBODY: &str = "there is no such login any more";

fn revoked(why: &str) -> Problem {
    Problem::new(ErrorCode::Revoked).detail(why)
}

/// The caller, if a path names it.
async fn own<B: Backend>(api: &Api<B>, caller: CallersLogin, named: &str) -> Answer<UserId> {
    if one(api, Caller(caller.user), named).await? == caller.user {
        return Ok(caller.user);
    }
    Err(Problem::new(ErrorCode::Forbidden).title("Logins are seen and ended by their user only."))
}

/// Whoever hangs up before this knows of the ends, too, once the rows are read ([`crate::identity::follow`]).
async fn end<B: Backend>(api: &Api<B>, user: UserId, which: WhichLogins) -> Answer<Json<Ended>> {
    let ended = api.parts.users.end_logins(user, which, api.now()).await?;
    note(api, &ended);
    Ok(Json(Ended::of(&ended)))
}

/// This process need not wait until it reads of them.
pub(crate) fn note<B: Backend>(api: &Api<B>, ended: &[EndedLogin]) {
    for ended in ended {
        api.parts.ended.note(ended);
    }
}

/// Uses the limit of a login once, for whoever brings a refresh token of it.
async fn take_use<B: Backend>(api: &Api<B>, (user, login): (UserId, LoginId)) -> Answer<()> {
    let key = [&b"refresh "[..], user.as_bytes(), &login.to_bytes()].concat();
    take(api, Some("refresh"), &key, api.config.refreshes_per_login).await
}

fn read<B: Backend>(api: &Api<B>, given: &Given) -> Answer<RefreshToken> {
    let token = api.parts.refresh_tokens.read(&given.refresh_token);
    token.ok_or_else(|| {
        Problem::new(ErrorCode::TokenInvalid).title("This is no refresh token of this deployment; log in.")
    })
}

fn new_token(user: UserId, login: LoginId) -> Answer<RefreshToken> {
    RefreshToken::generate(user, login).map_err(|error| {
        tracing::error!(%error, "a refresh token cannot be made");
        Problem::new(ErrorCode::Internal)
    })
}

/// The ends of what is given out.
#[derive(Clone, Copy)]
struct Until {
    access_ends: Time,
    ends: Time,
}

/// Signs what is given out now.
pub(crate) async fn signer<B: Backend>(api: &Api<B>) -> Answer<Signer> {
    Ok(api.parts.keys.signer(&api.parts.users, api.now()).await?)
}

fn grant<B: Backend>(api: &Api<B>, signer: &Signer, user: &User, token: &RefreshToken, until: Until) -> Granted {
    let (_, login) = token.of();
    let left_s = |until: Time| until.0.saturating_sub(api.now().0) / SECOND_US;
    let expires_in = left_s(until.access_ends);
    let kept = Kept {
        refresh_token: api.parts.refresh_tokens.text(token),
        refresh_expires_in: left_s(until.ends),
        login: login.to_string(),
    };
    granted(user, signer.sign_for(user.id, Some(login), api.now_unix_s(), expires_in), expires_in, Some(kept))
}

/// A token of a user that a program gives out: it is of no login, and only its time ends it.
pub(crate) fn token_of<B: Backend>(api: &Api<B>, signer: &Signer, user: UserId) -> String {
    signer.sign(user, api.now_unix_s(), api.config.token_ttl.as_secs())
}

/// An access token of no login, as programs get them: only its time ends it.
fn grant_unkept<B: Backend>(api: &Api<B>, signer: &Signer, user: &User) -> Granted {
    granted(user, token_of(api, signer, user.id), api.config.token_ttl.as_secs(), None)
}

fn granted(user: &User, access_token: String, expires_in: u64, kept: Option<Kept>) -> Granted {
    let user = GrantedUser { id: user.id.to_string(), username: user.username.to_string() };
    Granted { access_token, token_type: "Bearer", expires_in, kept, user }
}
