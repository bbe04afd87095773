//! The page: the browser client where it was built into this binary, otherwise what this server is and how to chat
//! from a terminal.
//!
//! The client's own routes all lie under `/app`, so none of them can hide an answer of the API.

mod file;
mod policy;

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use panda_protocol::ErrorCode;

use super::problem::Problem;
use crate::Api;
use crate::backend::Backend;
use file::{File, Lifetime};

/// What the build found in `edge/web/dist`; empty where nobody built the page.
const BUILT: &[File] = include!(concat!(env!("OUT_DIR"), "/page_files.rs"));
const ENTRY: &str = "index.html";
/// What names of files begin with that a browser runs as a worker.
const WORKERS: &str = "panda.worker-";
/// Instead of the browser client, where that was not built.
const TERMINAL: &str = include_str!("../../page/index.html");
const TERMINAL_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// `/` and every route of the client, which reads from the address itself what to show.
pub(crate) async fn page<B: Backend>(State(api): State<Arc<Api<B>>>, request: Request) -> Response {
    entry(BUILT, &request, &api.config.discovery.edges)
}

/// A file that the page names: scripts, styles, icons, the manifest, the service worker.
pub(crate) async fn file<B: Backend>(State(api): State<Arc<Api<B>>>, request: Request) -> Response {
    named(BUILT, &request, &api.config.discovery.edges)
}

fn entry(files: &[File], request: &Request, edges: &[String]) -> Response {
    match File::find(files, ENTRY) {
        Some(file) => answer(file, request, edges, Lifetime::Revalidate),
        None if request.uri().path() == "/" => terminal(),
        None => Problem::new(ErrorCode::NotFound).detail("the browser client is not in this build").into_response(),
    }
}

fn named(files: &[File], request: &Request, edges: &[String]) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let Some(file) = File::find(files, path) else { return Problem::new(ErrorCode::NotFound).into_response() };
    // The names of assets have a hash of their content: another content is another file. But a worker lives under the
    // policy that its file came with, and that changes with the deployment's edges while the content does not.
    let is_kept = path.strip_prefix("assets/").is_some_and(|name| !name.starts_with(WORKERS));
    answer(file, request, edges, if is_kept { Lifetime::Immutable } else { Lifetime::Revalidate })
}

/// A worker has a policy of its own, that of the file it came from; so every file brings the page's.
fn answer(file: &File, request: &Request, edges: &[String], lifetime: Lifetime) -> Response {
    let policy = policy::of(request.headers().get(header::HOST), edges);
    let mut response = file.answer(request.headers(), lifetime, &policy);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.insert("permissions-policy", policy::PERMISSIONS);
    response
}

fn terminal() -> Response {
    let page = Html(TERMINAL.replace("{version}", env!("CARGO_PKG_VERSION")));
    (StatusCode::OK, [(header::CONTENT_SECURITY_POLICY, TERMINAL_POLICY)], page).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};

    use super::*;

    const FILES: &[File] = &[
        File { path: "assets/app-1a2b.js", plain: b"let a = 1", brotli: Some(b"br"), gzip: Some(b"gz") },
        File { path: "assets/panda.worker-3c4d.js", plain: b"let b = 2", brotli: None, gzip: None },
        File { path: "index.html", plain: b"<!doctype html>", brotli: None, gzip: None },
        File { path: "manifest.webmanifest", plain: b"{}", brotli: None, gzip: None },
        File { path: "sw.js", plain: b"self", brotli: None, gzip: Some(b"zs") },
    ];

    fn get(path: &str, headers: &[(&str, &str)]) -> Request {
        let request = Request::builder().uri(path).header("host", "chat.example:8080");
        headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value))
            .body(Body::empty())
            .unwrap()
    }

    async fn body(response: Response) -> Vec<u8> {
        to_bytes(response.into_body(), 64 * 1024).await.unwrap().to_vec()
    }

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[tokio::test]
    async fn every_route_of_the_client_is_the_same_page_which_is_asked_for_anew() {
        for path in ["/", "/app", "/app/chat/1h"] {
            let response = entry(FILES, &get(path, &[]), &[]);
            assert_eq!((response.status(), header(&response, "cache-control")), (StatusCode::OK, "no-cache"), "{path}");
            assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
            assert!(header(&response, "etag").starts_with('"'));
            assert_eq!(body(response).await, b"<!doctype html>");
        }
    }

    #[tokio::test]
    async fn a_page_that_did_not_change_is_not_sent_again() {
        let first = entry(FILES, &get("/", &[]), &[]);
        let tag = header(&first, "etag").to_owned();
        for known in [tag.as_str(), &format!("\"other\", {tag}"), &format!("W/{tag}"), "*"] {
            let again = entry(FILES, &get("/", &[("if-none-match", known)]), &[]);
            assert_eq!((again.status(), header(&again, "etag")), (StatusCode::NOT_MODIFIED, tag.as_str()), "{known}");
            assert_eq!(body(again).await, b"");
        }
        assert_eq!(entry(FILES, &get("/", &[("if-none-match", "\"other\"")]), &[]).status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn hashed_files_stay_a_year_and_go_out_as_small_as_the_browser_takes_them() {
        for (accepted, encoding, bytes) in [
            ("gzip, deflate, br, zstd", "br", &b"br"[..]),
            ("gzip, br;q=0", "gzip", b"gz"),
            ("GZIP;q=0.5", "gzip", b"gz"),
            ("br;q=nonsense, identity", "", b"let a = 1"),
            ("", "", b"let a = 1"),
        ] {
            let response = named(FILES, &get("/assets/app-1a2b.js", &[("accept-encoding", accepted)]), &[]);
            assert_eq!(header(&response, "cache-control"), "public, max-age=31536000, immutable");
            assert_eq!(header(&response, "content-type"), "text/javascript; charset=utf-8");
            assert_eq!(header(&response, "vary"), "accept-encoding");
            assert_eq!(header(&response, "content-encoding"), encoding, "{accepted}");
            assert_eq!(body(response).await, bytes, "{accepted}");
        }
        // Two encodings of one file are two things to a cache.
        let tag = |accepted| {
            let response = named(FILES, &get("/assets/app-1a2b.js", &[("accept-encoding", accepted)]), &[]);
            header(&response, "etag").to_owned()
        };
        assert_ne!(tag("br"), tag("gzip"));
    }

    #[tokio::test]
    async fn files_whose_names_stay_are_asked_for_anew() {
        let worker = named(FILES, &get("/sw.js", &[("accept-encoding", "br, gzip")]), &[]);
        assert_eq!((header(&worker, "cache-control"), header(&worker, "content-encoding")), ("no-cache", "gzip"));
        let manifest = named(FILES, &get("/manifest.webmanifest", &[]), &[]);
        assert_eq!(header(&manifest, "content-type"), "application/manifest+json");
    }

    #[tokio::test]
    async fn what_is_no_file_of_the_page_is_a_problem_and_no_page() {
        for path in
            ["/assets/", "/assets/app.js", "/assets/../index.html", "/assets/%2e%2e/sw.js", "/assets/app-1a2b.js.br"]
        {
            let response = named(FILES, &get(path, &[]), &[]);
            assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(header(&response, "content-type"), "application/problem+json", "{path}");
        }
    }

    #[tokio::test]
    async fn a_build_without_the_page_says_how_to_get_it() {
        let response = entry(&[], &get("/", &[]), &[]);
        assert_eq!(response.status(), StatusCode::OK);
        let text = String::from_utf8(body(response).await).unwrap();
        assert!(text.contains("npm run build") && text.contains("panda chat"), "{text}");
        assert_eq!(entry(&[], &get("/app/chat/1h", &[]), &[]).status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_policy_lets_the_page_talk_to_its_own_address_alone() {
        let response = entry(FILES, &get("/", &[]), &[]);
        let policy = header(&response, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{policy}");
        assert!(policy.contains("connect-src 'self' ws://chat.example:8080 wss://chat.example:8080;"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(header(&response, "cross-origin-opener-policy"), "same-origin");
        let worker = named(FILES, &get("/assets/panda.worker-3c4d.js", &[]), &[]);
        assert_eq!(header(&worker, "content-security-policy"), policy);
    }

    #[tokio::test]
    async fn with_other_edges_the_page_and_its_worker_are_other_files() {
        let edges = ["https://two.example".to_owned()];
        for (path, answer) in
            [("/", entry as fn(&[File], &Request, &[String]) -> Response), ("/assets/panda.worker-3c4d.js", named)]
        {
            let before = answer(FILES, &get(path, &[]), &[]);
            let known = [("if-none-match", header(&before, "etag"))];
            assert_eq!(header(&before, "cache-control"), "no-cache", "{path}");
            assert_eq!(answer(FILES, &get(path, &known), &[]).status(), StatusCode::NOT_MODIFIED, "{path}");
            // A browser would keep the old policy with an answer of 304.
            let now = answer(FILES, &get(path, &known), &edges);
            assert_eq!(now.status(), StatusCode::OK, "{path}");
            assert!(header(&now, "content-security-policy").contains(" https://two.example wss://two.example;"));
        }
    }

    #[test]
    fn what_was_built_is_whole() {
        if BUILT.is_empty() {
            return;
        }
        assert!(File::find(BUILT, ENTRY).is_some(), "a built page has its entry");
        assert!(File::find(BUILT, "sw.js").is_some() && File::find(BUILT, "manifest.webmanifest").is_some());
        let scripts = BUILT.iter().filter(|file| file.path.starts_with("assets/") && file.path.ends_with(".js"));
        for script in scripts {
            assert!(script.brotli.is_some() && script.gzip.is_some(), "{} is there compressed", script.path);
        }
        let is_worker = |file: &File| file.path.strip_prefix("assets/").is_some_and(|name| name.starts_with(WORKERS));
        assert!(BUILT.iter().any(is_worker), "a worker is known by its name");
    }
}
