//! HTTP answers of the socket itself: the same problems as the API's, written by hand.

use panda_protocol::ErrorCode;

use crate::admission::Refusal;

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    status: &'static str,
    code: ErrorCode,
    detail: &'static str,
    headers: String,
}

impl Answer {
    /// The request is not what it should be.
    pub(super) const fn bad_request(detail: &'static str) -> Self {
        Self { status: "400 Bad Request", code: ErrorCode::InvalidRequest, detail, headers: String::new() }
    }

    /// The page's origin may not connect.
    pub(super) const fn origin_refused() -> Self {
        Self {
            status: "403 Forbidden",
            code: ErrorCode::OriginRefused,
            detail: "add the origin to the allowed ones",
            headers: String::new(),
        }
    }

    /// This path speaks WebSocket version 13 only.
    pub(super) fn upgrade_required(detail: &'static str) -> Self {
        Self {
            status: "426 Upgrade Required",
            code: ErrorCode::InvalidRequest,
            detail,
            headers: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".into(),
        }
    }

    /// The head is longer than its limit or has too many fields.
    pub(super) const fn head_too_large() -> Self {
        Self {
            status: "431 Request Header Fields Too Large",
            code: ErrorCode::TooLarge,
            detail: "a request head has at most 16 KiB and 64 fields",
            headers: String::new(),
        }
    }

    /// The gate let nobody in.
    pub(super) fn refusal(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Address | Refusal::Http => "429 Too Many Requests",
            Refusal::Handshakes | Refusal::Sessions => "503 Service Unavailable",
        };
        let headers = format!("Retry-After: {}\r\n", refusal.retry_after_s());
        Self { status, code: refusal.code(), detail: "", headers }
    }

    /// The whole response; the connection ends with it.
    pub(super) fn to_http(&self) -> String {
        let Self { status, code, detail, headers } = self;
        let (label, title) = (code.label(), code.text());
        // None of these texts holds a character that JSON would want escaped.
        let detail = if detail.is_empty() { String::new() } else { format!(r#","detail":"{detail}""#) };
        let body = format!(
            r#"{{"type":"urn:panda:error:{label}","title":"{title}","status":{number},"code":{code},"label":"{label}"{detail}}}"#,
            number = &status[..3],
            code = *code as u16,
        );
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\nContent-Length: {len}\r\n\
             {headers}Connection: close\r\n\r\n{body}",
            len = body.len(),
        )
    }
}
