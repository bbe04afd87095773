//! Reads the head of the first request, bounded in bytes; who calls bounds the time.

use std::io;

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::answer::Answer;

/// Bytes of a request head, and of what came with it.
pub(super) const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Bytes that one read takes at most; most heads are shorter.
const READ_BYTES: usize = 1024;

/// What was read.
pub(super) enum Head {
    /// `bytes[..len]` is the head, its empty line included; behind it lies what came with it.
    Complete { bytes: Bytes, len: usize },
    /// No head of an HTTP request, or too long a one.
    Refused(Answer),
}

/// Reads until the empty line. The head is not parsed here, so a peer that sends a byte at a time
/// costs one look at that byte.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Head> {
    let mut bytes = BytesMut::new();
    loop {
        let room = READ_BYTES.min(HEAD_BYTES_MAX - bytes.len());
        if room == 0 {
            return Ok(Head::Refused(Answer::head_too_large()));
        }
        bytes.reserve(room);
        let seen = bytes.len();
        if stream.read_buf(&mut (&mut bytes).limit(room)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A method begins with a letter. TLS on the plain port is the usual reason for another byte.
        if !bytes[0].is_ascii_alphabetic() {
            return Ok(Head::Refused(Answer::bad_request("this is not an HTTP request")));
        }
        if let Some(len) = end_of_head(&bytes, seen) {
            return Ok(Head::Complete { bytes: bytes.freeze(), len });
        }
    }
}

/// Where the empty line ends, if it is there; before `seen` there was none.
fn end_of_head(bytes: &[u8], seen: usize) -> Option<usize> {
    (seen..bytes.len())
        .find(|&at| {
            let until = &bytes[..=at];
            until.ends_with(b"\n\r\n") || until.ends_with(b"\n\n")
        })
        .map(|at| at + 1)
}
