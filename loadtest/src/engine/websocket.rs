//! The WebSocket of a client (RFC 6455), as far as servers under load need it.

use std::net::SocketAddrV4;

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest;

/// A text message.
pub const TEXT: u8 = 1;
/// A binary message.
pub const BINARY: u8 = 2;
/// The last frame.
pub const CLOSE: u8 = 8;
/// Are you there?
pub const PING: u8 = 9;
/// Yes.
pub const PONG: u8 = 10;
/// The highest opcode of a message or a fragment of one.
pub const DATA_MAX: u8 = 2;

/// The example of the RFC; servers check no more than that it is 16 bytes.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const LAST: u8 = 0x80;
const MASKED: u8 = 0x80;
const HEAD_END: &[u8] = b"\r\n\r\n";
/// The longest head of an answer that is waited for.
const HEAD_MAX: usize = 16 * 1024;

/// A whole frame from a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// What it is.
    pub opcode: u8,
    /// Whether the message ends with it.
    pub last: bool,
    /// What it carries.
    pub payload: &'b [u8],
    /// Its bytes with the header.
    pub length: usize,
}

/// The first frame of `bytes`, or `None` if it is not all there.
///
/// # Errors
/// What a server may not send: a mask.
#[inline]
pub fn next_frame(bytes: &[u8]) -> Result<Option<Frame<'_>>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if second & MASKED != 0 {
        bail!("the server masks a WebSocket frame");
    }
    let (header, length) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (10, u64::from_be_bytes(*length)),
            None => return Ok(None),
        },
        length => (2, u64::from(length)),
    };
    let whole = usize::try_from(length).ok().and_then(|length| length.checked_add(header));
    let Some(payload) = whole.and_then(|whole| bytes.get(header..whole)) else { return Ok(None) };
    Ok(Some(Frame { opcode: first & 0x0f, last: first & LAST != 0, payload, length: header + payload.len() }))
}

/// Appends the header of a client's frame. Its mask is zero, so the payload goes as it is: the server unmasks all the same.
pub fn write_header(out: &mut Vec<u8>, opcode: u8, length: usize) {
    out.push(LAST | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..126), _) => out.push(MASKED | short),
        (_, Ok(middle)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
}

/// The request that opens a WebSocket.
pub fn upgrade_request(server: SocketAddrV4, path: &str, protocol: Option<&str>) -> Vec<u8> {
    let protocol = protocol.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
    // An origin of the server's own, as a page of it would send: some check it.
    format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Version: 13\r\nOrigin: http://{server}\r\n{protocol}\r\n"
    )
    .into_bytes()
}

/// Bytes of the answer to [`upgrade_request`]'s request, or `None` if it is not all there.
///
/// # Errors
/// An answer that opens no WebSocket, in the server's words.
pub fn upgrade_answer(bytes: &[u8]) -> Result<Option<usize>> {
    let end = bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END);
    let Some(end) = end else {
        if bytes.len() > HEAD_MAX {
            bail!("the answer to the upgrade has no end");
        }
        return Ok(None);
    };
    if !bytes.starts_with(b"HTTP/1.1 101") {
        let shown: String = String::from_utf8_lossy(bytes).chars().take(300).collect();
        bail!("no upgrade: {shown}");
    }
    Ok(Some(end + HEAD_END.len()))
}

/// What a server answers to a client's key; for the floors.
pub fn accept_key(key: &str) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key.as_bytes());
    hash.update(ACCEPT_GUID);
    BASE64_STANDARD.encode(hash.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's frame of this length.
    fn frame(opcode: u8, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_header(&mut bytes, opcode, length);
        bytes[1] &= !MASKED;
        bytes.truncate(bytes.len() - 4);
        bytes.extend(vec![7; length]);
        bytes
    }

    #[test]
    fn frames_of_every_width_of_length_are_read_once_they_are_whole() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let bytes = frame(BINARY, length);
            let whole = next_frame(&bytes).unwrap().unwrap();
            assert_eq!((whole.opcode, whole.last, whole.payload.len()), (BINARY, true, length));
            assert_eq!(whole.length, bytes.len());
            for cut in [0, 1, 2, 3, 9, bytes.len() - 1] {
                assert_eq!(next_frame(&bytes[..cut.min(bytes.len() - 1)]).unwrap(), None, "{length} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_length_that_no_memory_holds_is_waited_for_and_not_added_up() {
        assert_eq!(next_frame(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255, 1]).unwrap(), None);
    }

    #[test]
    fn a_masked_frame_of_a_server_is_refused() {
        assert!(next_frame(&[0x82, 0x81, 0, 0, 0, 0, 1]).is_err());
    }

    #[test]
    fn an_upgrade_is_what_says_101_and_nothing_else() {
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nmore";
        assert_eq!(upgrade_answer(answer).unwrap(), Some(answer.len() - 4));
        assert_eq!(upgrade_answer(&answer[..40]).unwrap(), None);
        let refused = upgrade_answer(b"HTTP/1.1 403 Forbidden\r\n\r\nno such origin").unwrap_err().to_string();
        assert!(refused.contains("403") && refused.contains("no such origin"), "{refused}");
        assert!(upgrade_answer(&vec![b'x'; HEAD_MAX + 1]).is_err());
    }

    #[test]
    fn the_key_of_the_rfc_is_accepted_as_in_the_rfc() {
        assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
