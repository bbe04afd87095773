//! Refusals as `application/problem+json` (RFC 9457) with the protocol's codes.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use panda_access::AccessError;
use panda_link::CommandRefused;
use panda_protocol::link::Rejection;
use panda_protocol::{ErrorCode, UserId};
use panda_storage::user_store::{FieldError, UniqueField};
use panda_storage::{StoreError, UserStoreError};
use serde_json::{Map, Value, json};

use crate::identity::{HashError, SigningError};

/// How long to wait when nothing better is known.
const RETRY_AFTER_MS: u64 = 1_000;

/// What a caller is told whose key stands for another request already.
const KEY_REUSED: &str = "This key was used for another request; take a new one.";

/// Why a request was refused. Its answer never holds a secret of the request.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    code: ErrorCode,
    status: StatusCode,
    /// Instead of the code's own text, where that speaks of what a caller of this API does not have.
    title: Option<&'static str>,
    detail: Option<String>,
    field: Option<&'static str>,
    /// Those who are in too many chats.
    users: Vec<UserId>,
    retry_after_ms: u64,
}

pub(crate) type Answer<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(code: ErrorCode) -> Self {
        let retry_after_ms = match code {
            ErrorCode::Unavailable
            | ErrorCode::Overloaded
            | ErrorCode::Backlogged
            | ErrorCode::Damaged
            | ErrorCode::OutcomeUnknown
            | ErrorCode::NotApplied
            | ErrorCode::Held => RETRY_AFTER_MS,
            _ => 0,
        };
        let status = status_of(code);
        Self { code, status, title: None, detail: None, field: None, users: Vec::new(), retry_after_ms }
    }

    /// A value that is not allowed, and which field has it.
    pub(crate) fn field(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field), ..Self::new(ErrorCode::InvalidRequest).detail(detail) }
    }

    /// A value above its limit.
    pub(crate) fn too_large(field: &'static str, detail: impl Into<String>) -> Self {
        Self { field: Some(field), ..Self::new(ErrorCode::TooLarge).detail(detail) }
    }

    /// A value that breaks its field's rule.
    pub(crate) fn of_field(field: &'static str, error: FieldError) -> Self {
        match error {
            FieldError::TooLong(_) => Self::too_large(field, error.to_string()),
            FieldError::Form(_) => Self::field(field, error.to_string()),
        }
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) const fn title(mut self, title: &'static str) -> Self {
        self.title = Some(title);
        self
    }

    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says of which one of several it is, before what is said already.
    pub(crate) fn of_one(mut self, which: &str) -> Self {
        self.detail = Some(match self.detail {
            Some(detail) => format!("{which}: {detail}"),
            None => which.to_owned(),
        });
        self
    }

    pub(crate) const fn retry_after_ms(mut self, wait: u64) -> Self {
        self.retry_after_ms = wait;
        self
    }

    pub(crate) const fn code(&self) -> ErrorCode {
        self.code
    }
}

/// The HTTP status of a code.
const fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::TokenExpired
        | ErrorCode::TokenInvalid
        | ErrorCode::TicketInvalid
        | ErrorCode::Revoked
        | ErrorCode::BadCredentials
        | ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::NotMember | ErrorCode::Forbidden | ErrorCode::OriginRefused => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::Taken
        | ErrorCode::LimitReached
        | ErrorCode::TooManySubscriptions
        | ErrorCode::OutOfOrder
        | ErrorCode::NothingToDo => StatusCode::CONFLICT,
        ErrorCode::VersionConflict => StatusCode::PRECONDITION_FAILED,
        ErrorCode::TooLarge | ErrorCode::FrameTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::CounterReused => StatusCode::UNPROCESSABLE_ENTITY,
        ErrorCode::RateLimited | ErrorCode::TooManyInFlight | ErrorCode::TooManyConnections => {
            StatusCode::TOO_MANY_REQUESTS
        }
        ErrorCode::Unavailable
        | ErrorCode::Backlogged
        | ErrorCode::Damaged
        | ErrorCode::Overloaded
        | ErrorCode::InboxDamaged
        | ErrorCode::Going => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::OutcomeUnknown | ErrorCode::NotApplied | ErrorCode::Held => StatusCode::GATEWAY_TIMEOUT,
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = Map::from_iter([
            ("type".to_owned(), json!(format!("urn:panda:error:{}", self.code.label()))),
            ("title".to_owned(), json!(self.title.unwrap_or_else(|| self.code.text()))),
            ("status".to_owned(), json!(self.status.as_u16())),
            ("code".to_owned(), json!(self.code as u16)),
            ("label".to_owned(), json!(self.code.label())),
        ]);
        if let Some(detail) = self.detail {
            body.insert("detail".to_owned(), json!(detail));
        }
        if let Some(field) = self.field {
            body.insert("field".to_owned(), json!(field));
        }
        if !self.users.is_empty() {
            let users: Vec<_> = self.users.iter().map(UserId::to_string).collect();
            body.insert("users".to_owned(), json!(users));
        }
        if self.retry_after_ms > 0 {
            body.insert("retry_after_ms".to_owned(), json!(self.retry_after_ms));
        }
        let mut response = (self.status, Value::Object(body).to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.retry_after_ms > 0 {
            // Whole seconds, and never earlier than what the body says.
            headers.insert(header::RETRY_AFTER, HeaderValue::from(self.retry_after_ms.div_ceil(1_000)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let problem = match rejection.code {
            // The caller has a key; devices and counters are made of it.
            ErrorCode::CounterReused | ErrorCode::OutOfOrder => Self::new(rejection.code).title(KEY_REUSED),
            code => Self::new(code),
        };
        if rejection.retry_after_ms > 0 { problem.retry_after_ms(rejection.retry_after_ms) } else { problem }
    }
}

impl From<CommandRefused> for Problem {
    fn from(refused: CommandRefused) -> Self {
        match refused {
            CommandRefused::Rejected(rejection) => rejection.into(),
            CommandRefused::Full(users) => {
                let detail = "each of `users` is in as many chats as a user may be, and has to leave one first";
                Self { users, ..Self::new(ErrorCode::LimitReached).detail(detail) }
            }
        }
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        Self::new(error.code())
    }
}

impl From<SigningError> for Problem {
    fn from(error: SigningError) -> Self {
        match error {
            SigningError::Store(error) => error.into(),
            SigningError::FleetSecret(_) => {
                tracing::error!(%error, "nobody is let in");
                Self::new(ErrorCode::Internal)
            }
        }
    }
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => Self::new(ErrorCode::Overloaded).detail("too many logins are waiting"),
            HashError::Failed => {
                tracing::error!("a password could not be hashed: no memory or no random bytes");
                Self::new(ErrorCode::Internal)
            }
        }
    }
}

impl From<UserStoreError> for Problem {
    fn from(error: UserStoreError) -> Self {
        match error {
            UserStoreError::Taken(UniqueField::Identity) => {
                let taken =
                    Self::new(ErrorCode::Taken).title("This login is another account's; unlink it there first.");
                Self { field: Some(UniqueField::Identity.name()), ..taken }
            }
            UserStoreError::LastWayIn => {
                let title = "Nothing else would let you in; link another login first, or set a password.";
                Self { field: Some(UniqueField::Identity.name()), ..Self::new(ErrorCode::Forbidden).title(title) }
            }
            UserStoreError::Taken(field) => Self { field: Some(field.name()), ..Self::new(ErrorCode::Taken) },
            UserStoreError::NotFound => Self::new(ErrorCode::NotFound),
            UserStoreError::VersionConflict { .. } => Self::new(ErrorCode::VersionConflict),
            UserStoreError::KeysTurning { .. } => Self::new(ErrorCode::Internal),
            UserStoreError::TooMany(limit) => {
                Self::new(ErrorCode::TooLarge).detail(format!("at most {limit} at a time"))
            }
            UserStoreError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_retryable() {
            tracing::warn!(%error, "the user store refused");
        } else {
            tracing::error!(%error, "the user store failed");
        }
        Self::new(ErrorCode::Unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_refusing_status() {
        for code in ErrorCode::ALL {
            let status = status_of(*code);
            assert!(status.is_client_error() || status.is_server_error(), "{code}");
        }
        assert_eq!(status_of(ErrorCode::Unavailable), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status_of(ErrorCode::OutcomeUnknown), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(status_of(ErrorCode::NotApplied), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(status_of(ErrorCode::Damaged), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status_of(ErrorCode::Held), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(status_of(ErrorCode::Taken), StatusCode::CONFLICT);
        assert_eq!(status_of(ErrorCode::BadCredentials), StatusCode::UNAUTHORIZED);
    }

    #[test]
    fn the_document_has_the_status_of_every_code() {
        let document = include_str!("../../../HTTP.md");
        for code in ErrorCode::ALL {
            let status = status_of(*code).as_u16();
            // 400 is what a code has that is not listed.
            let row = format!("| {} | `{}` | {status} |", *code as u16, code.label());
            assert!(
                status == 400 && *code != ErrorCode::InvalidRequest || document.contains(&row),
                "HTTP.md has no row {row}"
            );
        }
    }

    #[test]
    fn the_document_names_every_route() {
        let (document, table) = (include_str!("../../../HTTP.md"), include_str!("mod.rs"));
        let routes: Vec<_> = table.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(routes.len() > 10, "{routes:?}");
        for route in routes {
            assert!(document.contains(&format!(" {route}`")), "HTTP.md does not name {route}");
        }
    }

    #[test]
    fn a_wait_is_told_twice_and_never_too_short() {
        let response = Problem::new(ErrorCode::RateLimited).retry_after_ms(1_001).into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}
