//! Decides what a request head asks for: the upgrade, or something of the HTTP API.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use httparse::{EMPTY_HEADER, Header, Status};
use panda_access::PageOrigin;
use ring::digest;

use super::answer::Answer;

/// Where the WebSocket is; the discovery document says so.
const PATH: &str = "/ws";
/// The subprotocol of version 1.
const SUBPROTOCOL: &str = "panda.1";
/// Fields of a request head.
const FIELDS_MAX: usize = 64;
/// RFC 6455, section 1.3.
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What the request is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    /// For the HTTP API.
    Http,
    /// A correct upgrade, and the response to it.
    Upgrade(String),
    /// Neither.
    Refused(Answer),
}

/// Examines a whole head.
pub(super) fn examine(head: &[u8], origins: &[String]) -> Request {
    let mut fields = [EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Request::Refused(Answer::head_too_large()),
        Ok(Status::Partial) | Err(_) => {
            return Request::Refused(Answer::bad_request("the head of this request is malformed"));
        }
    }
    let path = request.path.and_then(|target| target.split('?').next());
    if path != Some(PATH) {
        return Request::Http;
    }
    let line = (request.method, request.version);
    let fields = Fields(request.headers);
    match upgrade(line, &fields, origins) {
        Ok(key) => Request::Upgrade(response(key)),
        Err(answer) => Request::Refused(answer.answering(fields.named("x-request-id").flatten().next().unwrap_or(""))),
    }
}

/// The key of a request that asks for the upgrade in every way that it should.
fn upgrade<'h>(
    (method, version): (Option<&str>, Option<u8>),
    fields: &Fields<'h>,
    origins: &[String],
) -> Result<&'h str, Answer> {
    if !fields.lists("upgrade", |token| token.eq_ignore_ascii_case("websocket"))
        || !fields.lists("connection", |token| token.eq_ignore_ascii_case("upgrade"))
    {
        return Err(Answer::upgrade_required("this path speaks WebSocket only"));
    }
    if (method, version) != (Some("GET"), Some(1)) {
        return Err(Answer::bad_request("an upgrade is a GET of HTTP/1.1"));
    }
    if fields.only("sec-websocket-version")? != Some("13") {
        return Err(Answer::upgrade_required("the WebSocket version is 13"));
    }
    let key = fields.only("sec-websocket-key")?.filter(|key| is_key(key));
    let key = key.ok_or(Answer::bad_request("Sec-WebSocket-Key is not 16 bytes in base64"))?;
    let host = fields.only("host")?.ok_or(Answer::bad_request("there is no Host field"))?;
    // Clients that are no browsers send no origin.
    if let Some(origin) = fields.only("origin")?
        && PageOrigin::of(origin, host, origins) == PageOrigin::Foreign
    {
        return Err(Answer::origin_refused());
    }
    if !fields.lists("sec-websocket-protocol", |token| token == SUBPROTOCOL) {
        return Err(Answer::bad_request("the subprotocol panda.1 is not asked for"));
    }
    Ok(key)
}

struct Fields<'h>(&'h [Header<'h>]);

impl<'h> Fields<'h> {
    fn named(&self, name: &str) -> impl Iterator<Item = Option<&'h str>> {
        self.0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| std::str::from_utf8(field.value).ok().map(str::trim))
    }

    /// Whether a token of this list, which may be in several fields, is the one wanted.
    fn lists(&self, name: &str, wanted: impl Fn(&str) -> bool) -> bool {
        self.named(name).flatten().flat_map(|list| list.split(',')).any(|token| wanted(token.trim()))
    }

    /// The value of a field that may be there once.
    fn only(&self, name: &str) -> Result<Option<&'h str>, Answer> {
        let mut values = self.named(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(Some(value)), None) => Ok(Some(value)),
            _ => Err(Answer::bad_request("a field is repeated or is not text")),
        }
    }
}

fn is_key(key: &str) -> bool {
    key.len() == 24 && BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

fn response(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n",
        accepted(key)
    )
}

/// The answer to a key.
pub(super) fn accepted(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID);
    BASE64_STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_accepted_as_in_the_rfc() {
        let answer = response("dGhlIHNhbXBsZSBub25jZQ==");
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    }
}
