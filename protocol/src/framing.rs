//! `length varint | type u8 | body`: bytes in, whole frames out.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::codec::{DecodeError, Writer, peek_varint, varint_len};
use crate::link::LINK_FRAME_BYTES_MAX;

/// One frame, its body still undecoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// The frame's type.
    pub kind: u8,
    /// What follows the type.
    pub body: Bytes,
}

/// Where the next frame ends: the bytes of its length and the bytes behind it. `None` if more bytes
/// are needed to know.
///
/// # Errors
/// [`DecodeError::NonMinimal`], [`DecodeError::TooLarge`] above `bytes_max`, and
/// [`DecodeError::Invalid`] for a frame without a type.
pub fn peek_frame(bytes: &[u8], bytes_max: usize) -> Result<Option<(usize, usize)>, DecodeError> {
    let Some((len, prefix)) = peek_varint(bytes)? else { return Ok(None) };
    if len > bytes_max as u64 {
        return Err(DecodeError::TooLarge);
    }
    if len == 0 {
        return Err(DecodeError::Invalid);
    }
    // At most `bytes_max`, which is a usize.
    Ok(Some((prefix, usize::try_from(len).map_err(|_| DecodeError::TooLarge)?)))
}

/// Takes the next whole frame off `buffer`, or `None` if it is not all there yet. Nothing is
/// reserved for a length that was merely announced.
///
/// # Errors
/// As [`peek_frame`]; the buffer is then of no more use.
pub fn split_frame(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<RawFrame>, DecodeError> {
    let Some((prefix, len)) = peek_frame(buffer, bytes_max)? else { return Ok(None) };
    if buffer.len() < prefix + len {
        return Ok(None);
    }
    let mut frame = buffer.split_to(prefix + len).freeze();
    let kind = frame[prefix];
    let body = frame.split_off(prefix + 1);
    Ok(Some(RawFrame { kind, body }))
}

/// Takes the next frame off a message that must hold whole frames only, or `None` at its end.
///
/// # Errors
/// As [`peek_frame`], and [`DecodeError::Truncated`] if the message ends inside a frame.
pub fn next_frame(message: &mut Bytes, bytes_max: usize) -> Result<Option<RawFrame>, DecodeError> {
    let mut rest = &message[..];
    let Some((kind, body)) = next_frame_of(&mut rest, bytes_max)? else { return Ok(None) };
    let (body, taken) = (message.slice_ref(body), message.len() - rest.len());
    message.advance(taken);
    Ok(Some(RawFrame { kind, body }))
}

/// The same for a message that is only looked at: the frame's type and body.
///
/// # Errors
/// As [`next_frame`].
pub fn next_frame_of<'a>(message: &mut &'a [u8], bytes_max: usize) -> Result<Option<(u8, &'a [u8])>, DecodeError> {
    if message.is_empty() {
        return Ok(None);
    }
    let (prefix, len) = peek_frame(message, bytes_max)?.ok_or(DecodeError::Truncated)?;
    let (frame, rest) = message.split_at_checked(prefix + len).ok_or(DecodeError::Truncated)?;
    *message = rest;
    Ok(Some((frame[prefix], &frame[prefix + 1..])))
}

/// Makes a whole frame; `write` appends its body.
pub fn frame_bytes(kind: u8, body_capacity: usize, write: impl FnOnce(&mut Writer)) -> Bytes {
    // The length's width is known only at the end: leave room for four bytes and give back the rest.
    const PREFIX: usize = 4;
    let mut writer = Writer::with_capacity(PREFIX + 1 + body_capacity);
    writer.raw(&[0; PREFIX]);
    writer.u8(kind);
    write(&mut writer);
    let mut out = writer.into_inner();
    let len = out.len() - PREFIX;
    debug_assert!(len <= LINK_FRAME_BYTES_MAX, "limits.rs keeps every frame below its maximum");
    let width = varint_len(len as u64);
    let mut prefix = Writer::with_capacity(PREFIX);
    prefix.varint(len as u64);
    out[PREFIX - width..PREFIX].copy_from_slice(&prefix.into_inner()[..]);
    out.freeze().slice(PREFIX - width..)
}
