//! The page at `/`: what this server is and how to chat from a terminal.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Html;

const PAGE: &str = include_str!("../page/index.html");
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

pub(crate) async fn page() -> ([(HeaderName, HeaderValue); 1], Html<String>) {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE.replace("{version}", env!("CARGO_PKG_VERSION"))))
}
