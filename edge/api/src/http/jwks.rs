//! `/.well-known/jwks.json`: the public halves of the keys of access tokens (RFC 7517, RFC 8037).

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use panda_access::VerifyingKey;
use panda_protocol::ErrorCode;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::{Answer, Problem};
use crate::Api;
use crate::backend::Backend;

/// Less than a new key is published before it signs: whoever keeps it for so long has the key in time.
const FOR_A_WHILE: HeaderValue = HeaderValue::from_static("public, max-age=120");

/// A set of keys (RFC 7517, section 5).
#[derive(Serialize, ToSchema)]
pub(crate) struct KeySet {
    keys: Vec<KeyJson>,
}

/// A public key (RFC 8037, section 2).
#[derive(Serialize, ToSchema)]
struct KeyJson {
    kty: &'static str,
    crv: &'static str,
    r#use: &'static str,
    alg: &'static str,
    kid: String,
    /// The point, in base64 (URL-safe, without padding).
    x: String,
}

impl KeyJson {
    fn of(key: &VerifyingKey) -> Self {
        let x = URL_SAFE_NO_PAD.encode(key.public());
        Self { kty: "OKP", crv: "Ed25519", r#use: "sig", alg: "EdDSA", kid: key.kid().to_owned(), x }
    }
}

#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    tag = "clients",
    summary = "The public keys of access tokens",
    responses((status = 200, description = "A JWK Set; the newest first", body = KeySet, content_type = "application/jwk-set+json"), (status = 304, description = "The caller has it")),
)]
pub(crate) async fn jwks<B: Backend>(State(api): State<Arc<Api<B>>>, headers: HeaderMap) -> Answer<Response> {
    let set = KeySet { keys: api.parts.keys.public(api.now()).iter().map(KeyJson::of).collect() };
    let internal = |_| Problem::new(ErrorCode::Internal);
    let body = serde_json::to_vec(&set).map_err(internal)?;
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest(&SHA256, &body).as_ref()[..16]));
    let tag = HeaderValue::from_str(&tag).map_err(|_| Problem::new(ErrorCode::Internal))?;
    let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| *known == tag);
    let kept = [(header::CACHE_CONTROL, FOR_A_WHILE), (header::ETAG, tag)];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, kept).into_response());
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"))];
    Ok((kept, kind, body).into_response())
}
