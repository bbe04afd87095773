//! Registering and logging in.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use panda_access::Neighbourhood;
use panda_protocol::{ErrorCode, UserId};
use panda_storage::UserStore as _;
use panda_storage::user_store::{Email, NewUser, Username};
use serde::Deserialize;
use utoipa::ToSchema;

use super::Peer;
use super::body::{Body, Json};
use super::logins::{self, Granted, parse_label};
use super::problem::{Answer, Problem};
use super::rate_limits::take;
use super::throttle;
use crate::Api;
use crate::backend::Backend;
use crate::config::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN};
use crate::identity::Place;

// No `Debug`: these hold passwords.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Registration {
    username: String,
    email: Option<String>,
    password: String,
    label: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct Login {
    username: String,
    password: String,
    label: Option<String>,
}

#[utoipa::path(
    post,
    path = "/register",
    tag = "identity",
    summary = "Makes a user, and logs in",
    request_body = Registration,
    responses((status = 201, description = "Logged in", body = Granted), (status = 409, description = "`taken`")),
)]
pub(crate) async fn register<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    Body(asked): Body<Registration>,
) -> Answer<(StatusCode, Json<Granted>)> {
    let username = Username::parse(&asked.username).map_err(|error| Problem::of_field("username", error))?;
    let email = parse_email(asked.email.as_deref())?;
    check_new_password(&asked.password)?;
    let label = parse_label(asked.label.as_deref())?;
    take_address(&api, peer).await?;
    // A name that is taken costs no hash. The store decides again: two may ask for one name at once.
    if let [Some(_)] = api.parts.users.users_by_name(vec![username.clone()]).await?.as_slice() {
        return Err(panda_storage::UserStoreError::Taken(panda_storage::user_store::UniqueField::Username).into());
    }
    let password = hashed(&api, api.hasher.hash(&asked.password).await)?;
    let new = NewUser {
        id: UserId::from_random(rand::random()),
        username,
        email,
        password: Some(password),
        created: api.now(),
    };
    let user = api.parts.users.create_user(new).await?;
    tracing::info!(user = %user.id, "registered");
    let granted = logins::begin(&api, &user, label).await.map_err(|_| {
        // The user is there, so that nobody takes this for "nothing happened".
        Problem::new(ErrorCode::OutcomeUnknown).title("You are registered, and not logged in yet; log in.")
    })?;
    Ok((StatusCode::CREATED, Json(granted)))
}

#[utoipa::path(
    post,
    path = "/login",
    tag = "identity",
    summary = "Begins a login",
    request_body = Login,
    responses((status = 200, description = "Logged in", body = Granted), (status = 401, description = "`bad_credentials`")),
)]
pub(crate) async fn login<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    Body(asked): Body<Login>,
) -> Answer<Json<Granted>> {
    let label = parse_label(asked.label.as_deref())?;
    take_address(&api, peer).await?;
    let refused = || {
        api.metrics.logins_refused.inc();
        Problem::new(ErrorCode::BadCredentials)
    };
    // What can be no password and no name of ours is not worth a hash; it tells nothing of who exists.
    let username = Username::parse(&asked.username).map_err(|_| refused())?;
    if asked.password.len() > PASSWORD_BYTES_MAX {
        return Err(refused());
    }
    // Before any store is asked: a flood that cannot be hashed costs them nothing.
    let place = placed(&api)?;
    let tried = throttle::begin(&api, &username, peer).await?;
    take_guess(&api, &username, peer).await?;
    let credential = api.parts.users.credential(username).await?;
    let (user, password) = credential.map_or((None, None), |found| (Some(found.user), found.password));
    let same = hashed(&api, place.verify(&asked.password, password).await)?;
    let Some(user) = user.filter(|_| same) else {
        tried.failed(&api).await;
        return Err(refused());
    };
    tried.succeeded(&api).await;
    Ok(Json(logins::begin(&api, &user, label).await?))
}

fn placed<B: Backend>(api: &Api<B>) -> Answer<Place<'_>> {
    let place = api.hasher.place();
    if place.is_err() {
        api.metrics.hashing_refused.inc();
    }
    Ok(place?)
}

pub(crate) fn hashed<B: Backend, T>(api: &Api<B>, outcome: Result<T, crate::identity::HashError>) -> Answer<T> {
    match outcome {
        Ok(_) => api.metrics.hashing.inc(),
        Err(_) => api.metrics.hashing_refused.inc(),
    };
    Ok(outcome?)
}

pub(crate) async fn take_address<B: Backend>(api: &Api<B>, peer: Peer) -> Answer<()> {
    let key = format!("address {:x}", neighbourhood(peer));
    take(api, Some("address"), key.as_bytes(), api.config.logins_per_address).await
}

/// Uses the limits of who tries a password of a name once.
pub(crate) async fn take_guess<B: Backend>(api: &Api<B>, username: &Username, peer: Peer) -> Answer<()> {
    let guess = format!("login {} {:x}", username.key(), neighbourhood(peer));
    take(api, None, guess.as_bytes(), api.config.logins_per_name_and_address).await?;
    take(api, None, format!("login {}", username.key()).as_bytes(), api.config.logins_per_name).await
}

fn neighbourhood(peer: Peer) -> u64 {
    Neighbourhood::of(peer.address.ip()).to_bits()
}

pub(crate) fn parse_email(email: Option<&str>) -> Answer<Option<Email>> {
    // A form sends an empty field where nothing was filled in.
    let given = email.filter(|email| !email.is_empty());
    given.map(Email::parse).transpose().map_err(|error| Problem::of_field("email", error))
}

pub(crate) fn check_new_password(password: &str) -> Answer<()> {
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Problem::too_large("password", format!("a password has at most {PASSWORD_BYTES_MAX} bytes")));
    }
    if password.chars().count() < PASSWORD_CHARS_MIN {
        return Err(Problem::field("password", format!("a password has at least {PASSWORD_CHARS_MIN} characters")));
    }
    Ok(())
}
