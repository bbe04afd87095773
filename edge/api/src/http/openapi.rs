//! What the API is, for programs (`/openapi.json`, OpenAPI 3.1) and for people who read (`/openapi`). Both are made of the
//! handlers' own types.

mod forms;
mod page;

use std::sync::LazyLock;

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, Response as Documented, ResponseBuilder};
use utoipa::{Modify, OpenApi, ToSchema};

use super::{
    accounts, bulk, chats, discovery, email, identity, jwks, logins, members, messages, passwords, pictures, providers,
    users,
};

/// Neither changes while this process runs.
const FOR_A_WHILE: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
/// The readable page has its own style and nothing else.
const PAGE_POLICY: (HeaderName, HeaderValue) = (
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Panda",
        description = "Identity, profiles, chats and provisioning over HTTP. Sessions are served by the binary protocol at `/ws` \
                       and over QUIC. `HTTP.md` in the project says what each of these does, with all limits."
    ),
    paths(
        identity::register,
        identity::login,
        accounts::deactivate,
        accounts::erase,
        accounts::export,
        passwords::forgot,
        passwords::reset,
        passwords::change,
        email::send_verification,
        email::verify,
        providers::begin,
        providers::callback,
        providers::redeem,
        providers::begin_device,
        providers::poll_device,
        logins::refresh,
        logins::log_out,
        logins::list,
        logins::end_others,
        logins::end_one,
        providers::identities,
        providers::link,
        providers::begin_link,
        providers::unlink,
        users::read,
        users::change,
        pictures::put,
        pictures::remove,
        pictures::read,
        chats::list,
        chats::create,
        chats::read,
        messages::send,
        members::list,
        members::add,
        members::remove,
        bulk::users,
        bulk::chats,
        discovery::discovery,
        jwks::jwks,
    ),
    components(schemas(ProblemJson)),
    modifiers(&Everywhere)
)]
struct Document;

/// A refusal (RFC 9457), with the codes of the binary protocol. It is written by hand; a test holds that to this.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
struct ProblemJson {
    /// `urn:panda:error:` and the label.
    r#type: String,
    /// For people.
    title: String,
    status: u16,
    /// Stable.
    code: u16,
    /// Stable.
    label: String,
    /// For people: what exactly.
    detail: Option<String>,
    /// Which field is refused.
    field: Option<String>,
    /// Users in too many chats, where that is why.
    users: Option<Vec<String>>,
    /// How long to wait, as `Retry-After` says in seconds.
    retry_after_ms: Option<u64>,
}

/// What holds of every operation, by what it takes.
struct Everywhere;

impl Modify for Everywhere {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        env!("CARGO_PKG_VERSION").clone_into(&mut document.info.version);
        let bearer = |about: &str| {
            SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about)).build())
        };
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("access_token", bearer("Of `/register`, `/login` or `/token/refresh`"));
        components.add_security_scheme("api_key", bearer("Of a program; the first is in `admin.key`"));
        forms::bodies(components);
        for (path, item) in &mut document.paths.paths {
            let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete];
            for operation in operations.into_iter().flatten() {
                forms::parameters(path, operation);
                refusals(operation);
            }
        }
    }
}

/// Adds the refusals that are not the operation's own, and says of all that they are problems.
fn refusals(operation: &mut Operation) {
    let is_asked = |operation: &Operation, test: fn(&Parameter) -> bool| {
        operation.parameters.iter().flatten().any(|one| matches!(one, RefOr::T(parameter) if test(parameter)))
    };
    let in_path = is_asked(operation, |parameter| matches!(parameter.parameter_in, ParameterIn::Path));
    let in_query = is_asked(operation, |parameter| matches!(parameter.parameter_in, ParameterIn::Query));
    let with_key = is_asked(operation, |parameter| parameter.name == "Idempotency-Key");
    let (with_body, with_token) = (operation.request_body.is_some(), operation.security.is_some());
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        body.required = Some(Required::True);
    }
    let all = [
        (400, true, "a field, a parameter or the request itself is not what is asked for"),
        (401, with_token, "no valid token, or none that opens this"),
        (403, true, "not the caller's, or a page of another origin"),
        (404, in_path || in_query || with_body, "what is named is not there"),
        (413, with_body || with_key, "more than is taken"),
        (429, true, "too many; `Retry-After`"),
        (500, true, "a defect of the server"),
        (503, true, "nothing happened; `Retry-After`"),
        (504, true, "`outcome_unknown`: it may still happen; `Retry-After`"),
    ];
    let responses = &mut operation.responses.responses;
    for (status, _, text) in all.into_iter().filter(|(_, applies, _)| *applies) {
        let made = || RefOr::T(ResponseBuilder::new().description(text).build());
        responses.entry(status.to_string()).or_insert_with(made);
    }
    for (status, response) in responses {
        if let RefOr::T(response) = response
            && status.starts_with(['4', '5'])
        {
            as_problem(response);
        }
    }
}

fn as_problem(response: &mut Documented) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    response.content.insert("application/problem+json".to_owned(), RefOr::T(content));
}

static JSON: LazyLock<String> = LazyLock::new(|| Document::openapi().to_json().unwrap_or_default());
static PAGE: LazyLock<String> = LazyLock::new(|| page::of(&Document::openapi()));

pub(crate) async fn json() -> Response {
    ([FOR_A_WHILE, (header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], JSON.as_str()).into_response()
}

pub(crate) async fn page() -> Response {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    ([FOR_A_WHILE, PAGE_POLICY, kind], PAGE.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Routes that are no operations of the API: the page, this document, and the WebSocket.
    const OTHERS: [&str; 8] =
        ["/openapi", "/openapi.json", "/ws", "/", "/app", "/manifest.webmanifest", "/sw.js", "/icons/{file}"];

    fn document() -> Value {
        serde_json::from_str(&JSON).unwrap()
    }

    #[test]
    fn every_route_and_method_is_in_the_document_and_nothing_else_is() {
        let table = include_str!("mod.rs");
        let mut routes = BTreeSet::new();
        for rest in table.split(".route(\"").skip(1) {
            let (path, rest) = rest.split_once('"').unwrap();
            let handlers = rest.split(".route(").next().unwrap().split(".fallback(").next().unwrap();
            if OTHERS.contains(&path) || path.contains("{*") {
                continue;
            }
            for method in ["get", "put", "post", "delete"] {
                if handlers.contains(&format!(" {method}(")) || handlers.contains(&format!(".{method}(")) {
                    routes.insert((path.to_owned(), method.to_owned()));
                }
            }
        }
        let document = document();
        let paths = document["paths"].as_object().unwrap().iter();
        let documented: BTreeSet<_> = paths
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())))
            .collect();
        assert!(routes.len() > 20);
        assert_eq!(documented, routes);
    }

    /// Two of one name would be one in the document: the last.
    #[test]
    fn no_two_bodies_have_one_name() {
        let mut names = BTreeSet::new();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for declared in text.split("ToSchema)]\n").skip(1) {
                    let line = declared.lines().find(|line| line.contains("struct ") || line.contains("enum "));
                    let rest =
                        line.and_then(|line| line.split("struct ").nth(1).or_else(|| line.split("enum ").nth(1)));
                    let name = rest.and_then(|rest| rest.split([' ', '<', '(']).next()).unwrap_or_default().to_owned();
                    assert!(names.insert(name.clone()), "{name} in {} is there already", path.display());
                }
            }
        }
        assert!(names.len() > 30, "{names:?}");
    }

    #[test]
    fn a_refusal_is_what_the_document_says() {
        let document = document();
        let known = document["components"]["schemas"]["Problem"]["properties"].as_object().unwrap();
        let problem = super::super::problem::Problem::field("name", "too long").retry_after_ms(7);
        let response = problem.into_response();
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(response.into_body(), 10_000));
        let body: Value = serde_json::from_slice(&body.unwrap().unwrap()).unwrap();
        for name in body.as_object().unwrap().keys() {
            assert!(known.contains_key(name), "{name}");
        }
        for required in document["components"]["schemas"]["Problem"]["required"].as_array().unwrap() {
            assert!(body.get(required.as_str().unwrap()).is_some(), "{required}");
        }
    }

    #[test]
    fn whoever_reads_finds_every_operation_and_no_script() {
        let document = document();
        for path in document["paths"].as_object().unwrap().keys() {
            assert!(PAGE.contains(path.as_str()), "{path}");
        }
        assert!(!PAGE.contains("<script") && !PAGE.contains("http://"));
    }
}
