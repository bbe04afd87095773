//! Who comes back from a provider is a user of ours: a known one, a new one, or one who is logged in and links it.
//!
//! A user is found by the provider's word for the person alone. A mail address finds nobody, verified or not: whoever
//! comes with somebody else's address, at a provider that verifies none or by one that was given up, gets an account of
//! their own. Who wants one account links it while logged in to that.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use panda_access::FlowStep;
use panda_protocol::{ErrorCode, Time, UserId};
use panda_storage::user_store::{
    Identity, IdentityKey, LoginLabel, NewUser, ProviderName, Subject, ToldIdentity, UniqueField, User,
};
use panda_storage::{UserStore as _, UserStoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Peer;
use super::super::auth::Caller;
use super::super::body::{Body, InPath, Json};
use super::super::identity::take_address;
use super::super::logins::{self, Granted, parse_label};
use super::super::problem::{Answer, Problem};
use super::super::users::one;
use super::flow::{self, Outcome};
use super::{Begin, Begun, begin_at, usernames};
use crate::Api;
use crate::backend::Backend;

/// What came of a login, and who began it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redeem {
    /// As the browser came back with it.
    code: String,
    /// Whose SHA-256 was the challenge.
    secret: String,
    /// What the list of logins calls it.
    label: Option<String>,
}

/// The same of who links.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Link {
    /// As the browser came back with it.
    code: String,
    /// Whose SHA-256 was the challenge.
    secret: String,
}

/// As what a user logs in at providers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Identities {
    identities: Vec<IdentityJson>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct IdentityJson {
    provider: String,
    subject: String,
    email: Option<String>,
    email_verified: bool,
    linked_us: u64,
    used_us: u64,
}

#[utoipa::path(
    post,
    path = "/login/provider/redeem",
    tag = "identity",
    summary = "Logs in with what came of a login at a provider",
    request_body = Redeem,
    responses((status = 200, description = "Logged in; of an unknown person a user was made", body = Granted), (status = 401, description = "`token_invalid`: not this deployment's, another's, or used before; `token_expired`")),
)]
pub(crate) async fn redeem<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    Extension(peer): Extension<Peer>,
    Body(asked): Body<Redeem>,
) -> Answer<Json<Granted>> {
    let label = parse_label(asked.label.as_deref())?;
    take_address(&api, peer).await?;
    let outcome = used(&api, &asked.code, &asked.secret, None).await?;
    Ok(Json(log_in(&api, &outcome.told, label).await?))
}

#[utoipa::path(
    post,
    path = "/user/{id}/identities/{provider}",
    tag = "identity",
    summary = "Begins to link a login at a provider",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`"), ("provider" = String, Path, description = "A name of `login_providers`")),
    request_body = Begin,
    responses((status = 200, description = "Where the browser goes", body = Begun)),
    security(("access_token" = [])),
)]
pub(crate) async fn begin_link<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath((named, provider)): InPath<(String, String)>,
    headers: HeaderMap,
    Body(asked): Body<Begin>,
) -> Answer<Json<Begun>> {
    let user = own(&api, caller, &named).await?;
    begin_at(&api, &provider, &headers, asked, Some(user)).await
}

#[utoipa::path(
    post,
    path = "/user/{id}/identities",
    tag = "identity",
    summary = "Links what came of a login at a provider",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    request_body = Link,
    responses((status = 200, description = "Linked", body = IdentityJson), (status = 401, description = "`token_invalid`: not this deployment's, another's, or used before; `token_expired`"), (status = 409, description = "`taken`: another user logs in as that; `limit_reached`")),
    security(("access_token" = [])),
)]
pub(crate) async fn link<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath(named): InPath<String>,
    Body(asked): Body<Link>,
) -> Answer<Json<IdentityJson>> {
    let user = own(&api, caller, &named).await?;
    let outcome = used(&api, &asked.code, &asked.secret, Some(user)).await?;
    let linked = api.parts.users.link_identity(user, outcome.told.identity(api.now())?).await;
    let linked = linked.map_err(|error| match error {
        UserStoreError::TooMany(most) => Problem::new(ErrorCode::LimitReached)
            .title("You have linked as many logins as an account may have; unlink one first.")
            .detail(format!("an account has at most {most}")),
        error => error.into(),
    })?;
    tracing::info!(%user, provider = %linked.key.provider, "a login at a provider was linked");
    Ok(Json(shown(linked)))
}

#[utoipa::path(
    get,
    path = "/user/{id}/identities",
    tag = "identity",
    summary = "As what one logs in at providers",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    responses((status = 200, description = "In the order of providers", body = Identities)),
    security(("access_token" = [])),
)]
pub(crate) async fn identities<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath(named): InPath<String>,
) -> Answer<Json<Identities>> {
    let user = own(&api, caller, &named).await?;
    let identities = api.parts.users.identities(user).await?.into_iter().map(shown).collect();
    Ok(Json(Identities { identities }))
}

#[utoipa::path(
    delete,
    path = "/user/{id}/identities/{provider}/{subject}",
    tag = "identity",
    summary = "Unlinks a login at a provider",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`"), ("provider" = String, Path, description = "As the list has it"), ("subject" = String, Path, description = "As the list has it")),
    responses((status = 200, description = "Those that are left", body = Identities), (status = 403, description = "`forbidden` with the field `identity`: nothing else would let the user in")),
    security(("access_token" = [])),
)]
pub(crate) async fn unlink<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath((named, provider, subject)): InPath<(String, String, String)>,
) -> Answer<Json<Identities>> {
    let user = own(&api, caller, &named).await?;
    let absent = |_| Problem::new(ErrorCode::NotFound);
    let provider = ProviderName::parse(&provider).map_err(absent)?;
    let key = IdentityKey { provider, subject: Subject::parse(&subject).map_err(absent)? };
    api.parts.users.unlink_identity(user, key.clone(), api.providers.names()).await?;
    tracing::info!(%user, provider = %key.provider, "a login at a provider was unlinked");
    let identities = api.parts.users.identities(user).await?.into_iter().map(shown).collect();
    Ok(Json(Identities { identities }))
}

/// Takes a code, which nobody can take again.
async fn used<B: Backend>(api: &Api<B>, code: &str, secret: &str, linking: Option<UserId>) -> Answer<Outcome> {
    let refused = |title| Problem::new(ErrorCode::TokenInvalid).title(title);
    let outcome: Option<Outcome> = flow::open(api, FlowStep::Result, code);
    let outcome = outcome.ok_or_else(|| refused("This is no code of this deployment; log in again."))?;
    // What it is bound to first: whoever has no right to it learns nothing of it, and does not use it up.
    if outcome.challenge != flow::hashed(secret) {
        return Err(refused("This login was begun in another browser; log in again."));
    }
    if outcome.linking.as_deref().map(flow::linking_user).transpose()? != linking {
        return Err(refused("This code is for something else; begin again."));
    }
    if flow::is_over(api, outcome.ends_us) {
        return Err(Problem::new(ErrorCode::TokenExpired).title("This login took too long; log in again."));
    }
    if !api.parts.users.use_code(outcome.id, Time(outcome.ends_us), api.now()).await? {
        return Err(refused("This code was used before; log in again."));
    }
    Ok(outcome)
}

/// Logs in whom a provider means: a known user or a new one.
pub(super) async fn log_in<B: Backend>(api: &Api<B>, told: &flow::Told, label: Option<LoginLabel>) -> Answer<Granted> {
    let identity = told.identity(api.now())?;
    let user = match api.parts.users.user_of_identity(identity.clone()).await? {
        Some(user) => user,
        None => register(api, told.called.as_deref(), identity).await?,
    };
    logins::begin(api, &user, label).await
}

async fn register<B: Backend>(api: &Api<B>, called: Option<&str>, told: ToldIdentity) -> Answer<User> {
    // An address that the provider did not verify may be anybody's.
    let email = told.email.clone().filter(|_| told.email_verified);
    for attempt in 0..=usernames::TRIES {
        let username = usernames::proposed(called, email.as_ref().map(|email| email.as_str()), attempt, rand::random());
        let id = UserId::from_random(rand::random());
        let new = NewUser { id, username, email: email.clone(), password: None, created: api.now() };
        match api.parts.users.create_user_of_identity(new, told.clone()).await {
            Ok(user) => {
                tracing::info!(user = %user.id, provider = %told.key.provider, "registered by a login provider");
                return Ok(user);
            }
            Err(UserStoreError::Taken(UniqueField::Username)) => {}
            // The same person logs in for the first time twice at once.
            Err(UserStoreError::Taken(UniqueField::Identity)) => {
                let found = api.parts.users.user_of_identity(told.clone()).await?;
                return found.ok_or_else(|| Problem::new(ErrorCode::Unavailable));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(ErrorCode::Unavailable).title("No name was free for you; log in again."))
}

async fn own<B: Backend>(api: &Api<B>, caller: Caller, named: &str) -> Answer<UserId> {
    if one(api, caller, named).await? == caller.0 {
        return Ok(caller.0);
    }
    Err(Problem::new(ErrorCode::Forbidden).title("Linked logins are seen and changed by their user only."))
}

fn shown(identity: Identity) -> IdentityJson {
    IdentityJson {
        provider: identity.key.provider.to_string(),
        subject: identity.key.subject.to_string(),
        email: identity.email.map(|email| email.to_string()),
        email_verified: identity.email_verified,
        linked_us: identity.linked.0,
        used_us: identity.used.0,
    }
}
