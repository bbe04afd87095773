//! Profiles, and finding users by what a person types.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use panda_protocol::{ErrorCode, UserId};
use panda_storage::cache::Profile;
use panda_storage::user_store::{AccountState, PictureUrl, USERS_MAX, User, UserChange, Username};
use panda_storage::{Cache as _, UserStore as _, UserStoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{Body, InPath, Json, nullable};
use super::email;
use super::identity::parse_email;
use super::problem::{Answer, Problem};
use super::uninterrupted::uninterrupted;
use crate::Api;
use crate::backend::Backend;

#[derive(Serialize, ToSchema)]
pub(crate) struct ProfileJson {
    id: String,
    /// Absent of who is erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    picture: Option<String>,
    version: u64,
    /// Its user put the account aside.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    deactivated: bool,
    /// Its user had the account erased.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    erased: bool,
    /// The caller's own only.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<Option<String>>,
    /// The caller's own only: whether that address is proven.
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
}

/// What is absent stays; `null` empties.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeJson {
    username: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    email: Option<Option<String>>,
    #[serde(default, deserialize_with = "nullable")]
    picture: Option<Option<String>>,
}

pub(crate) type Tagged = ([(HeaderName, HeaderValue); 1], Json<ProfileJson>);

#[utoipa::path(
    get,
    path = "/user/{id}",
    tag = "users",
    summary = "A profile; one's own with its mail address",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`")),
    responses((status = 200, description = "The profile; `ETag` names its version", body = ProfileJson)),
    security(("access_token" = [])),
)]
pub(crate) async fn read<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Answer<Tagged> {
    let id = one(&api, caller, &id).await?;
    if id == caller.0 {
        return Ok(own(&of(&api, id).await?));
    }
    let (profile, state) = profile(&api, id).await?;
    let json = ProfileJson {
        id: profile.id.to_string(),
        username: (state != AccountState::Erased).then(|| profile.username.to_string()),
        picture: profile.picture.as_ref().map(PictureUrl::to_string),
        version: profile.version,
        deactivated: state == AccountState::Deactivated,
        erased: state == AccountState::Erased,
        email: None,
        email_verified: None,
    };
    Ok((tag(profile.version), Json(json)))
}

#[utoipa::path(
    put,
    path = "/user/{id}",
    tag = "users",
    summary = "Changes one's own profile",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`"), ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that is meant", example = "\"v3\"")),
    request_body = ChangeJson,
    responses((status = 200, description = "The profile as it is now", body = ProfileJson), (status = 409, description = "`taken`"), (status = 412, description = "`version_conflict`")),
    security(("access_token" = [])),
)]
pub(crate) async fn change<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath(id): InPath<String>,
    headers: HeaderMap,
    Body(asked): Body<ChangeJson>,
) -> Answer<Tagged> {
    must_be_own(&api, caller, &id).await?;
    let username = asked
        .username
        .as_deref()
        .map(Username::parse)
        .transpose()
        .map_err(|error| Problem::of_field("username", error))?;
    let email = asked.email.map(|email| parse_email(email.as_deref())).transpose()?;
    let picture = asked.picture.map(|url| url.as_deref().map(PictureUrl::parse).transpose()).transpose();
    let picture = picture.map_err(|error| Problem::of_field("picture", error))?;
    let change = UserChange { username, email, picture };
    let version = version_asked(&headers)?;
    let user = uninterrupted(async move {
        let before = if change.email.is_some() { Some(of(&api, caller.0).await?) } else { None };
        let user = change_own(&api, caller.0, change, version).await?;
        if let Some(before) = before {
            email::tell_of_address(&api, &before, &user).await;
        }
        Ok(user)
    })
    .await?;
    Ok(own(&user))
}

/// Refuses whoever names another user.
pub(crate) async fn must_be_own<B: Backend>(api: &Api<B>, caller: Caller, named: &str) -> Answer<()> {
    if one(api, caller, named).await? == caller.0 {
        return Ok(());
    }
    Err(Problem::new(ErrorCode::Forbidden).title("A profile is changed by its user only."))
}

/// Changes a user and what everybody sees of it. Runs on a task that nobody ends.
pub(crate) async fn change_own<B: Backend>(
    api: &Api<B>,
    id: UserId,
    change: UserChange,
    version: Option<u64>,
) -> Answer<User> {
    let changed = api.parts.users.update_user(id, change, version).await;
    if let Some(version) = newest_version(&changed) {
        invalidate(api, id, version).await;
    }
    let user = changed?;
    fill(api, &user).await;
    Ok(user)
}

/// Lets everybody see what was changed of a user. Runs on a task that nobody ends.
pub(crate) async fn show_change<B: Backend>(api: &Api<B>, user: &User) {
    invalidate(api, user.id, user.version).await;
    fill(api, user).await;
}

/// A user as stored, who is not erased.
pub(crate) async fn of<B: Backend>(api: &Api<B>, id: UserId) -> Answer<User> {
    let user = Some(stored(api, id).await?).filter(|user| user.state != AccountState::Erased);
    user.ok_or_else(|| Problem::new(ErrorCode::NotFound))
}

async fn stored<B: Backend>(api: &Api<B>, id: UserId) -> Answer<User> {
    api.parts.users.users(vec![id]).await?.pop().flatten().ok_or_else(|| Problem::new(ErrorCode::NotFound))
}

/// The version that `If-Match` names; none for `*` or no such field.
pub(crate) fn version_asked(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    let version = text.strip_prefix("\"v").and_then(|text| text.strip_suffix('"')).and_then(|text| text.parse().ok());
    // Another's tag matches no version, which is what If-Match asks about.
    version.map(Some).ok_or_else(|| Problem::new(ErrorCode::VersionConflict))
}

fn tag(version: u64) -> [(HeaderName, HeaderValue); 1] {
    let tag = HeaderValue::from_str(&format!("\"v{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""));
    [(header::ETAG, tag)]
}

pub(crate) fn own(user: &User) -> Tagged {
    let json = ProfileJson {
        id: user.id.to_string(),
        username: Some(user.username.to_string()),
        picture: user.picture.as_ref().map(PictureUrl::to_string),
        version: user.version,
        deactivated: false,
        erased: false,
        email: Some(user.email.as_ref().map(ToString::to_string)),
        email_verified: Some(user.email_verified),
    };
    (tag(user.version), Json(json))
}

/// What everybody may know of a user, from the cache or the store.
async fn profile<B: Backend>(api: &Api<B>, id: UserId) -> Answer<(Profile, AccountState)> {
    if let Ok(Some(profile)) = api.parts.cache.profile(id, api.now()).await {
        return Ok((profile, AccountState::Active));
    }
    let user = stored(api, id).await?;
    fill(api, &user).await;
    Ok((profile_of(&user), user.state))
}

/// Which version of a profile everybody is to see after a change; none if nothing changed. A store that
/// failed may have made the change.
fn newest_version(changed: &Result<User, UserStoreError>) -> Option<u64> {
    match changed {
        Ok(user) => Some(user.version),
        Err(UserStoreError::Store(_)) => Some(u64::MAX),
        Err(_) => None,
    }
}

async fn invalidate<B: Backend>(api: &Api<B>, id: UserId, version: u64) {
    if let Err(error) = api.parts.cache.invalidate_profile(id, version, api.now()).await {
        tracing::debug!(%error, "a changed profile may be cached yet");
    }
}

async fn fill<B: Backend>(api: &Api<B>, user: &User) {
    // The cache knows active users only.
    if user.state != AccountState::Active {
        return;
    }
    if let Err(error) = api.parts.cache.fill_profile(profile_of(user), api.now()).await {
        tracing::debug!(%error, "a profile was not cached");
    }
}

fn profile_of(user: &User) -> Profile {
    Profile { id: user.id, username: user.username.clone(), picture: user.picture.clone(), version: user.version }
}

/// A user as a path names one: an identifier, `@name`, or `me`.
pub(crate) async fn one<B: Backend>(api: &Api<B>, caller: Caller, named: &str) -> Answer<UserId> {
    if named == "me" {
        return Ok(caller.0);
    }
    if let Some(name) = named.strip_prefix('@') {
        let name = Username::parse(name).map_err(|_| Problem::new(ErrorCode::NotFound))?;
        let found = api.parts.users.users_by_name(vec![name]).await?.pop().flatten();
        return found.map(|user| user.id).ok_or_else(|| Problem::new(ErrorCode::NotFound));
    }
    named.parse().map_err(|_| Problem::new(ErrorCode::NotFound))
}

/// Users as a body names them: identifiers or `@name`, in order, each once. All of them exist.
pub(crate) async fn existing<B: Backend>(api: &Api<B>, field: &'static str, named: &[String]) -> Answer<Vec<UserId>> {
    let unknown = |text: &str| Problem::field(field, format!("there is no user {}", shortened(text)));
    let mut ids = Vec::with_capacity(named.len());
    for chunk in named.chunks(USERS_MAX) {
        let (mut by_id, mut by_name) = (Vec::new(), Vec::new());
        for text in chunk {
            match text.strip_prefix('@') {
                Some(name) => by_name.push(Username::parse(name).map_err(|_| unknown(text))?),
                None => by_id.push(text.parse::<UserId>().map_err(|_| unknown(text))?),
            }
        }
        let (mut by_id, mut by_name) = (
            api.parts.users.users(by_id).await?.into_iter(),
            api.parts.users.users_by_name(by_name).await?.into_iter(),
        );
        for text in chunk {
            let found = if text.starts_with('@') { by_name.next() } else { by_id.next() };
            let found = found.flatten().filter(|user| user.state != AccountState::Erased);
            ids.push(found.ok_or_else(|| unknown(text))?.id);
        }
    }
    let mut seen = std::collections::HashSet::with_capacity(ids.len());
    ids.retain(|id| seen.insert(*id));
    Ok(ids)
}

/// As much of a text as an answer repeats.
pub(crate) fn shortened(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use panda_protocol::Time;
    use panda_storage::StoreError;

    use super::*;

    #[test]
    fn a_change_that_may_have_happened_is_kept_out_of_the_cache() {
        let user = User {
            email_verified: false,
            state: AccountState::Active,
            id: UserId::from_random([1; 16]),
            username: Username::parse("ada").unwrap(),
            email: None,
            picture: None,
            version: 7,
            created: Time(1),
        };
        assert_eq!(newest_version(&Ok(user)), Some(7));
        let lost = UserStoreError::Store(StoreError::Unavailable("no answer".into()));
        assert_eq!(newest_version(&Err(lost)), Some(u64::MAX));
        assert_eq!(newest_version(&Err(UserStoreError::VersionConflict { current: 8 })), None);
    }
}
