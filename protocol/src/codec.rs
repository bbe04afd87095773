//! Reading and writing the primitives of the wire.
//!
//! Decoding is zero-copy: byte strings and texts are slices of the buffer they came in. A length is
//! compared with its maximum and with the bytes that are there before anything is allocated.

use alloc::vec::Vec;

use bytes::{Buf as _, BufMut, Bytes, BytesMut};

use crate::ids::{
    ChatId, Counter, Cursor, DeviceId, EntityId, Generation, IdError, Incarnation, Position, Seq, SessionId, ShardId,
    Time, UserId,
};
use crate::limits::VARINT_MAX;
use crate::text::Text;

/// Why bytes are not what they should be. Each variant ends the connection that sent them; the
/// error code of the same name in `SPEC.md` tells the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end before the value does.
    #[error("the bytes end inside a value")]
    Truncated,
    /// A number is not in its shortest form.
    #[error("a number is not in its shortest form")]
    NonMinimal,
    /// A length or count is above its maximum.
    #[error("a length or count is above its limit")]
    TooLarge,
    /// A value is outside of what its field allows.
    #[error("a value is outside of its range")]
    Invalid,
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
    /// An identifier is of another kind.
    #[error("an identifier is of another kind")]
    IdKind,
    /// The frame's type is unknown and not of the ignorable range.
    #[error("unknown frame type")]
    UnknownFrame,
    /// A version that this code does not know.
    #[error("unknown version")]
    UnknownVersion,
}

impl From<IdError> for DecodeError {
    fn from(_: IdError) -> Self {
        Self::IdKind
    }
}

/// A value with one encoding on the wire.
pub trait Wire: Sized {
    /// Appends the value.
    fn encode(&self, out: &mut Writer);

    /// Reads the value and leaves the reader behind it.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not the value's encoding.
    fn decode(input: &mut Reader) -> Result<Self, DecodeError>;
}

/// A cursor over shared bytes.
#[derive(Clone, Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Reads from the start of `bytes`.
    pub const fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes what is left.
    pub fn take_rest(&mut self) -> Bytes {
        core::mem::take(&mut self.rest)
    }

    /// Takes exactly `len` bytes, shared with the buffer.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.rest.len() {
            return Err(DecodeError::Truncated);
        }
        Ok(self.rest.split_to(len))
    }

    /// Takes `N` bytes by value.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let array = *self.rest.first_chunk::<N>().ok_or(DecodeError::Truncated)?;
        self.rest.advance(N);
        Ok(array)
    }

    /// Takes one byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there is none.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// Takes a number of two bytes, big-endian.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Takes a number of eight bytes, big-endian.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if there are fewer.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// Takes a variable-length number as in RFC 9000, section 16, in its shortest form only.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] or [`DecodeError::NonMinimal`].
    pub fn varint(&mut self) -> Result<u64, DecodeError> {
        let (value, len) = peek_varint(&self.rest)?.ok_or(DecodeError::Truncated)?;
        self.rest.advance(len);
        Ok(value)
    }

    /// Takes a count or length and compares it with its maximum.
    ///
    /// # Errors
    /// As [`Self::varint`], and [`DecodeError::TooLarge`] above `max`.
    pub fn length(&mut self, max: usize) -> Result<usize, DecodeError> {
        let value = usize::try_from(self.varint()?).map_err(|_| DecodeError::TooLarge)?;
        if value > max { Err(DecodeError::TooLarge) } else { Ok(value) }
    }

    /// Takes a byte string with its length before it.
    ///
    /// # Errors
    /// As [`Self::length`] and [`Self::take`].
    pub fn bytes(&mut self, max: usize) -> Result<Bytes, DecodeError> {
        let len = self.length(max)?;
        self.take(len)
    }

    /// Takes a text with its length in bytes before it.
    ///
    /// # Errors
    /// As [`Self::bytes`], and [`DecodeError::Utf8`].
    pub fn text(&mut self, max: usize) -> Result<Text, DecodeError> {
        Text::from_utf8(self.bytes(max)?).map_err(|_| DecodeError::Utf8)
    }

    /// Takes a list with its count before it. `item_bytes_min` is the least that one item takes:
    /// a count that the bytes left cannot hold is refused before anything is allocated.
    ///
    /// # Errors
    /// As [`Self::length`], [`DecodeError::Truncated`], and what `item` returns.
    pub fn list<T>(
        &mut self,
        max: usize,
        item_bytes_min: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.length(max)?;
        if count.saturating_mul(item_bytes_min) > self.remaining() {
            return Err(DecodeError::Truncated);
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Takes a value that may be absent: a byte 0 or 1 before it.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for another byte, and what `value` returns.
    pub fn option<T>(
        &mut self,
        value: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8()? {
            0 => Ok(None),
            1 => value(self).map(Some),
            _ => Err(DecodeError::Invalid),
        }
    }

    /// Takes a byte that is 0 or 1.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] for another byte.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid),
        }
    }

    /// Takes any value.
    ///
    /// # Errors
    /// What the value's [`Wire::decode`] returns.
    pub fn value<T: Wire>(&mut self) -> Result<T, DecodeError> {
        T::decode(self)
    }
}

/// Reads a variable-length number at the start of `bytes` without taking it: its value and how many
/// bytes it has, or `None` if more bytes are needed.
///
/// # Errors
/// [`DecodeError::NonMinimal`] if it is not in its shortest form.
pub fn peek_varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, DecodeError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let len = 1usize << (first >> 6);
    if bytes.len() < len {
        return Ok(None);
    }
    let mut value = u64::from(first & 0x3f);
    for &byte in &bytes[1..len] {
        value = value << 8 | u64::from(byte);
    }
    if len != varint_len(value) { Err(DecodeError::NonMinimal) } else { Ok(Some((value, len))) }
}

/// How many bytes a number has on the wire: 1, 2, 4 or 8.
pub const fn varint_len(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends values to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    out: BytesMut,
}

impl Writer {
    /// An empty writer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { out: BytesMut::with_capacity(capacity) }
    }

    /// Appends behind what `out` holds already.
    pub const fn over(out: BytesMut) -> Self {
        Self { out }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// What was written.
    pub fn into_inner(self) -> BytesMut {
        self.out
    }

    /// What was written, shared.
    pub fn freeze(self) -> Bytes {
        self.out.freeze()
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) {
        self.out.put_u8(value);
    }

    /// Appends two bytes, big-endian.
    pub fn u16(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    /// Appends eight bytes, big-endian.
    pub fn u64(&mut self, value: u64) {
        self.out.put_u64(value);
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// Appends a number in its shortest form. Values above 2^62 - 1 do not exist in this protocol;
    /// one would be written as that maximum.
    pub fn varint(&mut self, value: u64) {
        debug_assert!(value <= VARINT_MAX, "no number of the protocol is above 2^62 - 1");
        let value = value.min(VARINT_MAX);
        let bytes = value.to_be_bytes();
        let len = varint_len(value);
        let start = self.out.len();
        self.out.put_slice(&bytes[8 - len..]);
        self.out[start] |= match len {
            1 => 0x00,
            2 => 0x40,
            4 => 0x80,
            _ => 0xc0,
        };
    }

    /// Appends a length or count.
    pub fn length(&mut self, value: usize) {
        self.varint(value as u64);
    }

    /// Appends a byte string with its length before it.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.raw(bytes);
    }

    /// Appends a list with its count before it.
    pub fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        for value in items {
            item(self, value);
        }
    }

    /// Appends a value that may be absent.
    pub fn option<T>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }

    /// Appends a byte 0 or 1.
    pub fn bool(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    /// Appends any value.
    pub fn value<T: Wire>(&mut self, value: &T) {
        value.encode(self);
    }
}

macro_rules! wire_id {
    ($($name:ident),+) => {$(
        impl Wire for $name {
            fn encode(&self, out: &mut Writer) {
                out.raw(self.as_bytes());
            }
            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                Ok(Self::from_bytes(input.array()?)?)
            }
        }
    )+};
}
wire_id!(UserId, DeviceId, ChatId, SessionId, EntityId);

macro_rules! wire_varint {
    ($($name:ident),+) => {$(
        impl Wire for $name {
            fn encode(&self, out: &mut Writer) {
                out.varint(self.0);
            }
            fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
                Ok(Self(input.varint()?))
            }
        }
    )+};
}
wire_varint!(Seq, Counter, Generation);

impl Wire for Time {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.0);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self(input.u64()?))
    }
}

impl Wire for ShardId {
    fn encode(&self, out: &mut Writer) {
        out.u16(self.0);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self(input.u16()?))
    }
}

impl Wire for Incarnation {
    fn encode(&self, out: &mut Writer) {
        out.raw(&self.0);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self(input.array()?))
    }
}

impl Wire for Cursor {
    fn encode(&self, out: &mut Writer) {
        out.value(&self.incarnation);
        out.value(&self.seq);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        Ok(Self { incarnation: input.value()?, seq: input.value()? })
    }
}

impl Wire for Position {
    fn encode(&self, out: &mut Writer) {
        out.varint(u64::from(self.epoch));
        out.varint(self.offset);
    }
    fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let epoch = u32::try_from(input.varint()?).map_err(|_| DecodeError::Invalid)?;
        Ok(Self { epoch, offset: input.varint()? })
    }
}
