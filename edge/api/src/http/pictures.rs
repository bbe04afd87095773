//! One's own picture, and everybody's for whoever knows its name.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use panda_protocol::{ErrorCode, UserId};
use panda_storage::pictures::PictureName;
use panda_storage::user_store::{PictureUrl, UserChange};
use panda_storage::{PictureStore, StoreError};

use super::auth::Caller;
use super::body::{self, InPath};
use super::problem::{Answer, Problem};
use super::rate_limits::take;
use super::uninterrupted::uninterrupted;
use super::users::{self, ProfileJson, Tagged};
use crate::Api;
use crate::backend::Backend;
use crate::config::PICTURE_BODY_BYTES_MAX;
use crate::pictures::{PictureError, Pictures, Rendered};

/// What is under a picture's name never changes.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
/// Longer than any request takes: what is younger may be of one in another process.
const YOUNG: Duration = Duration::from_secs(600);
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

#[utoipa::path(
    put,
    path = "/user/{id}/picture",
    tag = "users",
    summary = "Sends one's own picture",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`"), ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that is meant", example = "\"v3\"")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "JPEG, PNG or WebP; at most 8 MiB"),
    responses((status = 200, description = "The profile as it is now", body = ProfileJson), (status = 412, description = "`version_conflict`")),
    security(("access_token" = [])),
)]
pub(crate) async fn put<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath(id): InPath<String>,
    headers: HeaderMap,
    request: Request,
) -> Answer<Tagged> {
    users::must_be_own(&api, caller, &id).await?;
    let version = users::version_asked(&headers)?;
    let pictures = kept_here(&api)?;
    let key = [&b"picture "[..], caller.0.as_bytes()].concat();
    take(&api, Some("picture"), &key, api.config.pictures_per_user).await?;
    let busy = || Problem::new(ErrorCode::Overloaded).title("Too many pictures are being sent; try again in a moment.");
    let store = pictures.store.clone();
    let upload = pictures.begin(caller.0).ok_or_else(busy)?;
    let sent = body::bytes(request, PICTURE_BODY_BYTES_MAX).await?;
    let Rendered { format, bytes } = pictures.render(sent).await.map_err(refusal)?;
    let name = PictureName::of(caller.0, format, &bytes);
    let change = UserChange { picture: Some(Some(PictureUrl::kept(&name))), ..UserChange::default() };
    // Whoever hangs up leaves no profile behind that names a picture that is not there.
    uninterrupted(async move {
        let (_until_here, store) = (upload, store);
        let before = users::of(&api, caller.0).await?.picture.and_then(|url| url.kept_name());
        store.put(&name, Bytes::from(bytes)).await?;
        let user = users::change_own(&api, caller.0, change, version).await?;
        tidy(&api, &store, &name, before).await;
        Ok(users::own(&user))
    })
    .await
}

#[utoipa::path(
    delete,
    path = "/user/{id}/picture",
    tag = "users",
    summary = "Removes one's own picture",
    params(("id" = String, Path, description = "An identifier, `@username` or `me`"), ("If-Match" = Option<String>, Header, description = "The `ETag` of the version that is meant", example = "\"v3\"")),
    responses((status = 200, description = "The profile as it is now", body = ProfileJson), (status = 412, description = "`version_conflict`")),
    security(("access_token" = [])),
)]
pub(crate) async fn remove<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    caller: Caller,
    InPath(id): InPath<String>,
    headers: HeaderMap,
) -> Answer<Tagged> {
    users::must_be_own(&api, caller, &id).await?;
    let version = users::version_asked(&headers)?;
    let change = UserChange { picture: Some(None), ..UserChange::default() };
    uninterrupted(async move {
        let user = users::change_own(&api, caller.0, change, version).await?;
        if let Some(pictures) = &api.pictures {
            tell(caller.0, pictures.store.remove_all(caller.0).await.map(drop));
        }
        Ok(users::own(&user))
    })
    .await
}

#[utoipa::path(
    get,
    path = "/pictures/{user}/{file}",
    tag = "users",
    summary = "A picture that the deployment keeps",
    params(("user" = String, Path, description = "Whose"), ("file" = String, Path, description = "Which")),
    responses((status = 200, description = "The picture", body = Vec<u8>, content_type = "image/jpeg"), (status = 304, description = "The caller has it")),
)]
pub(crate) async fn read<B: Backend>(
    State(api): State<Arc<Api<B>>>,
    InPath((user, file)): InPath<(String, String)>,
    headers: HeaderMap,
) -> Answer<Response> {
    let absent = || Problem::new(ErrorCode::NotFound);
    let (pictures, name) = (api.pictures.as_ref().ok_or_else(absent)?, PictureName::parse(&user, &file));
    let name = name.ok_or_else(absent)?;
    let tag = HeaderValue::from_str(&format!("\"{file}\"")).map_err(|_| absent())?;
    let kept = [(header::CACHE_CONTROL, FOR_EVER), (header::ETAG, tag.clone())];
    // Whoever has it has the bytes of this name: there are no others.
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let bytes = pictures.store.get(&name).await?.ok_or_else(absent)?;
    let mut response = (kept, bytes).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(name.format().media_type()));
    // The page of one edge shows what the API at another one keeps.
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    Ok(response)
}

fn kept_here<B: Backend>(api: &Api<B>) -> Answer<&Pictures> {
    let nowhere = "its operator names a folder or a bucket for them (`pictures` in the configuration)";
    api.pictures
        .as_ref()
        .ok_or_else(|| Problem::new(ErrorCode::NotFound).title("This deployment keeps no pictures.").detail(nowhere))
}

/// Removes what the new picture took the place of, and what was left of earlier ones.
async fn tidy<B: Backend>(api: &Api<B>, store: &PictureStore, name: &PictureName, before: Option<PictureName>) {
    if let Some(before) = before.filter(|before| before != name) {
        tell(name.user(), store.remove(&before).await);
    }
    let young = api.now_unix_s().saturating_sub(YOUNG.as_secs());
    tell(name.user(), store.remove_left(name, young).await.map(drop));
}

fn tell(user: UserId, removed: Result<(), StoreError>) {
    if let Err(error) = removed {
        tracing::warn!(%user, %error, "an earlier picture of a user is still there; the next change removes it");
    }
}

fn refusal(error: PictureError) -> Problem {
    match error {
        PictureError::Refused(error) => match error {
            crate::pictures::RenderError::TooLarge => Problem::too_large("picture", error.to_string()),
            crate::pictures::RenderError::Form => Problem::field("picture", error.to_string()),
        },
        PictureError::Failed => {
            tracing::error!("the thread that makes pictures is gone: start this process again");
            Problem::new(ErrorCode::Internal)
        }
    }
}
