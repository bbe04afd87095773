//! Pages of other origins (CORS): one that is listed may use this API from a browser, any other is refused before
//! anything is done. Who is no browser sends no origin and is not concerned.
//!
//! Nothing of this API is in cookies, so no answer allows credentials.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use panda_access::{ORIGIN_REFUSED, PageOrigin};
use panda_protocol::ErrorCode;

use super::problem::Problem;
use crate::Api;
use crate::backend::Backend;

/// What a page of another origin may do, which a browser asks before it does it.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE");
/// The fields that this API reads, and `tracestate`, which comes with `traceparent`.
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, idempotency-key, if-match, traceparent, tracestate, x-request-id",
);
/// The fields of an answer that such a page may read besides those that every page may. `Date` tells a client how wrong
/// its own clock is.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("date, etag, ratelimit, ratelimit-policy, retry-after, x-request-id");
/// For how many seconds a browser may keep the answer. An origin that is taken off the list is refused all the same.
const KEPT_S: HeaderValue = HeaderValue::from_static("600");

/// Refuses what a foreign page asks, and lets a listed one read the answer.
pub(crate) async fn check<B: Backend>(State(api): State<Arc<Api<B>>>, request: Request, next: Next) -> Response {
    let (page, origin) = of(request.headers(), &api.config.origins);
    let asks_first =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match page {
        Some(PageOrigin::Foreign) => Problem::new(ErrorCode::OriginRefused).detail(ORIGIN_REFUSED).into_response(),
        Some(PageOrigin::Listed) if asks_first => preflight(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin.filter(|_| page == Some(PageOrigin::Listed)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

fn preflight() -> Response {
    let allowed = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, KEPT_S),
    ];
    (StatusCode::NO_CONTENT, allowed).into_response()
}

/// Where a request's page is from, and its origin as it named it. No origin: this is no page, or one that asks its own
/// server for something without changing anything.
fn of(headers: &HeaderMap, listed: &[String]) -> (Option<PageOrigin>, Option<HeaderValue>) {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return (None, None) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let page = match (origin.to_str(), origins.next()) {
        (Ok(text), None) => PageOrigin::of(text, host, listed),
        // No browser says it twice, or in bytes that are no text.
        _ => PageOrigin::Foreign,
    };
    (Some(page), Some(origin.clone()))
}
