//! The endpoints: one file a resource, and the layers around all of them.

mod accounts;
mod auth;
mod body;
mod bulk;
mod chats;
mod discovery;
mod email;
mod identity;
mod jwks;
mod layers;
mod logins;
mod members;
mod messages;
mod openapi;
mod origins;
mod page;
mod passwords;
mod pictures;
mod problem;
mod providers;
mod rate_limits;
mod sending;
mod throttle;
mod uninterrupted;
mod users;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post, put};
use panda_protocol::ErrorCode;

use crate::Api;
use crate::backend::Backend;
use problem::Problem;

/// Where a request comes from; laid into every request by its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) tls: bool,
}

/// All routes. Nothing outside of this table is answered with anything but a problem.
pub(crate) fn router<B: Backend>(api: Arc<Api<B>>) -> Router {
    page_files(&api)
        .merge(endpoints(&api))
        .layer(from_fn_with_state(Arc::clone(&api), layers::around::<B>))
        .with_state(api)
}

/// The page's own files: nobody's secrets, the same for everybody who asks.
fn page_files<B: Backend>(api: &Arc<Api<B>>) -> Router<Arc<Api<B>>> {
    Router::new()
        .route("/", get(page::page::<B>))
        .route("/app", get(page::page::<B>))
        .route("/app/{*route}", get(page::page::<B>))
        .route("/assets/{*file}", get(page::file::<B>))
        .route("/icons/{file}", get(page::file::<B>))
        .route("/manifest.webmanifest", get(page::file::<B>))
        .route("/sw.js", get(page::file::<B>))
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(api), layers::in_time::<B>))
}

fn endpoints<B: Backend>(api: &Arc<Api<B>>) -> Router<Arc<Api<B>>> {
    Router::new()
        .route("/.well-known/panda", get(discovery::discovery::<B>))
        .route("/.well-known/jwks.json", get(jwks::jwks::<B>))
        .route("/openapi.json", get(openapi::json))
        .route("/openapi", get(openapi::page))
        .route("/register", post(identity::register::<B>))
        .route("/login", post(identity::login::<B>))
        .route("/login/provider/redeem", post(providers::redeem::<B>))
        .route("/login/{provider}", post(providers::begin::<B>))
        .route("/login/{provider}/callback", get(providers::callback::<B>))
        .route("/login/{provider}/device", post(providers::begin_device::<B>))
        .route("/login/{provider}/device/poll", post(providers::poll_device::<B>))
        .route("/token/refresh", post(logins::refresh::<B>))
        .route("/logout", post(logins::log_out::<B>))
        .route("/password/forgot", post(passwords::forgot::<B>))
        .route("/password/reset", post(passwords::reset::<B>))
        .route("/email/verify", post(email::verify::<B>))
        .route("/user/{id}", get(users::read::<B>).put(users::change::<B>).delete(accounts::erase::<B>))
        .route("/user/{id}/deactivate", post(accounts::deactivate::<B>))
        .route("/user/{id}/export", get(accounts::export::<B>))
        .route("/user/{id}/picture", put(pictures::put::<B>).delete(pictures::remove::<B>))
        .route("/user/{id}/password", put(passwords::change::<B>))
        .route("/user/{id}/email/verification", post(email::send_verification::<B>))
        .route("/pictures/{user}/{file}", get(pictures::read::<B>))
        .route("/user/{id}/logins", get(logins::list::<B>).delete(logins::end_others::<B>))
        .route("/user/{id}/logins/{login}", delete(logins::end_one::<B>))
        .route("/user/{id}/identities", get(providers::identities::<B>).post(providers::link::<B>))
        .route("/user/{id}/identities/{provider}", post(providers::begin_link::<B>))
        .route("/user/{id}/identities/{provider}/{subject}", delete(providers::unlink::<B>))
        .route("/chats", get(chats::list::<B>).post(chats::create::<B>))
        .route("/chats/{id}", get(chats::read::<B>))
        .route("/chats/{id}/messages", post(messages::send::<B>))
        .route("/chats/{id}/members", get(members::list::<B>).post(members::add::<B>))
        .route("/chats/{id}/members/{user}", delete(members::remove::<B>))
        .route("/bulk/users", post(bulk::users::<B>))
        .route("/bulk/chats", post(bulk::chats::<B>))
        .route("/ws", get(websocket::<B>))
        .fallback(|| async { Problem::new(ErrorCode::NotFound) })
        .method_not_allowed_fallback(not_allowed)
        .layer(from_fn_with_state(Arc::clone(api), layers::in_time::<B>))
        // Around the time limit: a page must be able to read that, too.
        .layer(from_fn_with_state(Arc::clone(api), origins::check::<B>))
}

async fn not_allowed() -> Problem {
    let problem = Problem::new(ErrorCode::InvalidRequest).status(StatusCode::METHOD_NOT_ALLOWED);
    problem.title("This path does not take this method.").detail("the Allow header names those that it takes")
}

/// A WebSocket is opened by the first request of a connection: the edge took the others' sockets away. A process
/// without sessions opens none.
async fn websocket<B: Backend>(State(api): State<Arc<Api<B>>>) -> Response {
    if api.config.discovery.api_only {
        let problem = Problem::new(ErrorCode::NotFound);
        return problem.detail("sessions are not served here; connect to an edge of this deployment").into_response();
    }
    let problem = Problem::new(ErrorCode::InvalidRequest).status(StatusCode::UPGRADE_REQUIRED);
    let problem = problem.title("Only a WebSocket is opened here.");
    let problem = problem.detail("open a new connection whose first request is the WebSocket's");
    ([("upgrade", "websocket"), ("connection", "close")], problem).into_response()
}
