//! What surrounds every request: its time limit; its id, the headers of its answer, its count and its line in the log.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use panda_protocol::ErrorCode;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::problem::Problem;
use super::rate_limits;
use crate::Api;
use crate::backend::Backend;
use crate::metrics::RequestLabels;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of a request id that somebody else gave.
const REQUEST_ID_BYTES_MAX: usize = 64;

const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];
/// What a browser may do with an answer that names nothing of its own: nothing.
const CONTENT_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

pub(crate) async fn around<B: Backend>(State(api): State<Arc<Api<B>>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(&request);
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    // Whatever the request makes somebody say in the log has its id.
    let span = tracing::error_span!("request", request = ?id);
    let (mut response, limits) = rate_limits::told_of(next.run(request).instrument(span)).await;
    rate_limits::tell(&limits, response.headers_mut());
    let headers = response.headers_mut();
    for (name, value) in SECURITY {
        headers.entry(name).or_insert(value);
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(CONTENT_POLICY);
    let took = begun.elapsed();
    let status = response.status().as_u16();
    // The route and never the path: a path may name a user.
    tracing::debug!(request = ?id, %method, route, status, ms = took.as_millis(), "answered");
    response.headers_mut().insert(REQUEST_ID, id);
    api.metrics.requests.get_or_create(&RequestLabels { route, status }).inc();
    api.metrics.request_seconds.observe(took.as_secs_f64());
    response
}

/// A request is answered within its time. Nothing is known of what one that took longer has done.
pub(crate) async fn in_time<B: Backend>(State(api): State<Arc<Api<B>>>, request: Request, next: Next) -> Response {
    let answered = timeout(api.config.request_timeout, next.run(request)).await;
    answered.unwrap_or_else(|_| Problem::new(ErrorCode::OutcomeUnknown).into_response())
}

/// The id that a proxy or client gave, if it is a plain one, or a new one.
fn request_id(request: &Request) -> HeaderValue {
    let plain = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    let given = request.headers().get(REQUEST_ID).filter(plain);
    given.cloned().unwrap_or_else(|| {
        let made = format!("{:016x}", rand::random::<u64>());
        HeaderValue::from_str(&made).unwrap_or_else(|_| HeaderValue::from_static("none"))
    })
}
