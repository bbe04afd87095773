//! HTTP answers of the socket itself: the same problems as the API's, written by hand.

use panda_access::ORIGIN_REFUSED;
use panda_protocol::ErrorCode;

use crate::admission::Refusal;

/// Why a request was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    status: &'static str,
    code: ErrorCode,
    detail: &'static str,
    /// When to come back; 0: nothing is said.
    retry_after_s: u64,
    headers: String,
    /// The id that the request brought; empty: it gets one.
    request_id: String,
}

/// Bytes of a request id that somebody else gave; the API takes the same.
const REQUEST_ID_BYTES_MAX: usize = 64;

impl Answer {
    /// The request is not what it should be.
    pub(super) const fn bad_request(detail: &'static str) -> Self {
        Self {
            status: "400 Bad Request",
            code: ErrorCode::InvalidRequest,
            detail,
            retry_after_s: 0,
            headers: String::new(),
            request_id: String::new(),
        }
    }

    /// The page's origin may not connect.
    pub(super) const fn origin_refused() -> Self {
        Self {
            status: "403 Forbidden",
            code: ErrorCode::OriginRefused,
            detail: ORIGIN_REFUSED,
            retry_after_s: 0,
            headers: String::new(),
            request_id: String::new(),
        }
    }

    /// This path speaks WebSocket version 13 only.
    pub(super) fn upgrade_required(detail: &'static str) -> Self {
        Self {
            status: "426 Upgrade Required",
            code: ErrorCode::InvalidRequest,
            detail,
            retry_after_s: 0,
            headers: "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n".into(),
            request_id: String::new(),
        }
    }

    /// The head is longer than its limit or has too many fields.
    pub(super) const fn head_too_large() -> Self {
        Self {
            status: "431 Request Header Fields Too Large",
            code: ErrorCode::TooLarge,
            detail: "a request head has at most 16 KiB and 64 fields",
            retry_after_s: 0,
            headers: String::new(),
            request_id: String::new(),
        }
    }

    /// The gate let nobody in.
    pub(super) fn refusal(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Address | Refusal::Http => "429 Too Many Requests",
            Refusal::Handshakes | Refusal::Sessions => "503 Service Unavailable",
        };
        let retry_after_s = refusal.retry_after_s();
        let headers = format!("Retry-After: {retry_after_s}\r\n");
        Self { status, code: refusal.code(), detail: "", retry_after_s, headers, request_id: String::new() }
    }

    /// To a request with this id, if it is a plain one.
    pub(super) fn answering(mut self, id: &str) -> Self {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(plain) {
            id.clone_into(&mut self.request_id);
        }
        self
    }

    /// The whole response; the connection ends with it.
    pub(super) fn to_http(&self) -> String {
        let Self { status, code, detail, retry_after_s, headers, request_id } = self;
        let made = || format!("{:016x}", rand::random::<u64>());
        let request_id = if request_id.is_empty() { made() } else { request_id.clone() };
        let (label, title) = (code.label(), code.text());
        // None of these texts holds a character that JSON would want escaped.
        let detail = if detail.is_empty() { String::new() } else { format!(r#","detail":"{detail}""#) };
        let wait = match retry_after_s {
            0 => String::new(),
            seconds => format!(r#","retry_after_ms":{}"#, seconds * 1_000),
        };
        let body = format!(
            r#"{{"type":"urn:panda:error:{label}","title":"{title}","status":{number},"code":{code},"label":"{label}"{detail}{wait}}}"#,
            number = &status[..3],
            code = *code as u16,
        );
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/problem+json\r\nContent-Length: {len}\r\n\
             X-Request-Id: {request_id}\r\n{headers}Connection: close\r\n\r\n{body}",
            len = body.len(),
        )
    }
}
