//! A file of the page: which form of it a browser takes, whether the browser has it already, and for how long it may
//! keep it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use ring::digest::{Context, SHA256};

/// One row of the table that the build makes, which is in the order of the paths.
pub(super) struct File {
    /// Without the slash in front, as in `assets/app-1a2b.js`.
    pub(super) path: &'static str,
    pub(super) plain: &'static [u8],
    pub(super) brotli: Option<&'static [u8]>,
    pub(super) gzip: Option<&'static [u8]>,
}

/// For how long a browser may keep a file.
#[derive(Clone, Copy)]
pub(super) enum Lifetime {
    /// A year, without asking: the name changes with the content.
    Immutable,
    /// Kept, but asked about each time: an answer of 304 is some hundred bytes.
    Revalidate,
}

impl File {
    pub(super) fn find<'a>(files: &'a [Self], path: &str) -> Option<&'a Self> {
        files.binary_search_by(|file| file.path.cmp(path)).ok().map(|at| &files[at])
    }

    /// The file in the smallest form that the browser takes, or that it has this form already.
    /// It goes out under this policy, with which it is another thing to a cache: browsers keep the old headers of what did
    /// not change.
    pub(super) fn answer(&self, asked: &HeaderMap, lifetime: Lifetime, policy: &HeaderValue) -> Response {
        let (encoding, bytes) = self.form_for(asked);
        let tag = tag_of(bytes, policy);
        let is_known = asked.get_all(header::IF_NONE_MATCH).iter().any(|known| names(known, &tag));
        let mut response = Response::new(if is_known { Body::empty() } else { Body::from(bytes) });
        let headers = response.headers_mut();
        set(headers, header::ETAG, &tag);
        set(headers, header::VARY, "accept-encoding");
        set(
            headers,
            header::CACHE_CONTROL,
            match lifetime {
                Lifetime::Immutable => "public, max-age=31536000, immutable",
                Lifetime::Revalidate => "no-cache",
            },
        );
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        set(headers, header::CONTENT_TYPE, media_type(self.path));
        if let Some(encoding) = encoding {
            set(headers, header::CONTENT_ENCODING, encoding);
        }
        response
    }

    fn form_for(&self, asked: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
        let form = |name: &'static str, bytes: Option<&'static [u8]>| {
            bytes.filter(|_| accepts(asked, name)).map(|bytes| (Some(name), bytes))
        };
        form("br", self.brotli).or_else(|| form("gzip", self.gzip)).unwrap_or((None, self.plain))
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    // Tags are hex digits in quotes; everything else here is written in this file.
    headers.insert(name, HeaderValue::from_str(value).expect("printable ASCII"));
}

/// The first 16 bytes of the SHA-256 of the form and its policy: each form of a file is another thing to a cache.
fn tag_of(bytes: &[u8], policy: &HeaderValue) -> String {
    let mut hash = Context::new(&SHA256);
    hash.update(bytes);
    hash.update(policy.as_bytes());
    let hex: String = hash.finish().as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether an `If-None-Match` names this tag. Weak ones compare equal here (RFC 9110, section 13.1.2).
fn names(known: &HeaderValue, tag: &str) -> bool {
    let Ok(known) = known.to_str() else { return false };
    known.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
}

/// Whether `Accept-Encoding` has this coding with a weight above zero. `*` is not looked at: no browser sends it.
fn accepts(asked: &HeaderMap, coding: &str) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let (name, parameters) = one.split_once(';').unwrap_or((one, ""));
        let weight = parameters.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case(coding) && weight.is_ok_and(|weight| weight > 0.0)
    })
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, suffix)| suffix) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}
