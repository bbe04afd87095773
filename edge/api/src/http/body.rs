//! Bodies, paths and queries: sizes are checked before anything is read, and every refusal is a problem.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use panda_protocol::ErrorCode;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use super::problem::Problem;
use crate::config::{BODY_BYTES_MAX, BULK_BODY_BYTES_MAX};

/// A JSON body of at most 64 KiB. Its `Content-Type` is not asked for.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body of at most 4 MiB; only behind an API key.
pub(crate) struct BulkBody<T>(pub(crate) T);

/// A JSON answer that no cache keeps.
pub(crate) struct Json<T>(pub(crate) T);

/// What stands behind the `?`.
pub(crate) struct Asked<T>(pub(crate) T);

/// What a path names, as text; parsed by each resource.
pub(crate) struct InPath<T>(pub(crate) T);

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        read(request, BODY_BYTES_MAX).await.map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for BulkBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        read(request, BULK_BODY_BYTES_MAX).await.map(Self)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|query| Self(query.0))
            .map_err(|error| Problem::new(ErrorCode::InvalidRequest).detail(of_query(&error.body_text())))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        // What is no text after its percent signs are read names nothing.
        let named = Path::<T>::from_request_parts(parts, state).await;
        named.map(|named| Self(named.0)).map_err(|_| Problem::new(ErrorCode::NotFound))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

async fn read<T: DeserializeOwned>(request: Request, bytes_max: usize) -> Result<T, Problem> {
    let bytes = bytes(request, bytes_max).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        // Where it broke and not what was there: the body may hold a password.
        let place = format!("line {}, column {}", error.line(), error.column());
        let detail = match error.classify() {
            serde_json::error::Category::Data => {
                format!("the body's fields are not what is asked for, at {place}: {}", field_of(&error))
            }
            _ => format!("the body is not JSON, at {place}"),
        };
        Problem::new(ErrorCode::InvalidRequest).detail(detail)
    })
}

/// A whole body of at most so many bytes.
pub(crate) async fn bytes(request: Request, bytes_max: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(ErrorCode::TooLarge).detail(format!("a body may have at most {bytes_max} bytes"));
    if claimed_len(request.headers()).is_some_and(|len| len > bytes_max as u64) {
        return Err(too_large());
    }
    axum::body::to_bytes(request.into_body(), bytes_max).await.map_err(|error| {
        // Either the limit was met, or the peer went away and reads no answer.
        tracing::debug!(%error, "a body could not be read");
        too_large()
    })
}

/// What is wrong behind the `?`. Every value is read as a text, so it is a name that is unknown or there twice.
fn of_query(text: &str) -> String {
    let cause = ["unknown field", "duplicate field"].iter().find_map(|start| text.find(start));
    format!(
        "the query is not what is asked for: {}",
        cause.map_or("it is no list of names and values", |at| &text[at..])
    )
}

/// What serde says about a field, unless it repeats a value.
fn field_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let named = ["missing field", "unknown field", "duplicate field"].iter().any(|start| text.starts_with(start));
    if named {
        text.split(" at line").next().unwrap_or_default().to_owned()
    } else {
        "a value of another type".to_owned()
    }
}

fn claimed_len(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Tells a field that is `null` from one that is not there.
pub(crate) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    input: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(input).map(Some)
}
