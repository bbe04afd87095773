//! The body of an Event frame, read in place.
//!
//! The codec shares a buffer and counts references for that; here a million events a second are read once and dropped, so
//! their fields are found by stepping over those before. A test holds this to the codec.

use anyhow::{Context as _, Result, ensure};
use panda_protocol::codec::peek_varint;
use panda_protocol::event::EVENT_VERSION;
use panda_protocol::ids::{ID_LEN, IdKind};

const MESSAGE_SENT: u8 = 0x06;
const FLAG_TARGET: u8 = 1;
const FLAG_BLANKED: u8 = 2;
const TIME_LEN: usize = 8;
const DIGEST_LEN: usize = 8;

/// What is needed of an event.
#[derive(Debug, PartialEq, Eq)]
pub struct Delivery<'b> {
    /// The bytes of the chat's or the inbox's ID.
    pub entity: &'b [u8],
    /// The canonical bytes of the event.
    pub event: &'b [u8],
    /// Whether it is of the user's own inbox.
    pub is_inbox: bool,
    /// Its number in its chat or inbox.
    pub seq: u64,
    /// The text of a message.
    pub text: Option<&'b [u8]>,
}

impl<'b> Delivery<'b> {
    /// Reads a body.
    ///
    /// # Errors
    /// It is cut, or of another version.
    #[inline]
    pub fn parse(body: &'b [u8]) -> Result<Self> {
        let mut rest = body;
        let entity = take(&mut rest, ID_LEN)?;
        let is_inbox = entity[0] == IdKind::User as u8;
        let bytes = counted(&mut rest)?;
        let mut event = bytes;
        let &[version, kind, flags] = take(&mut event, 3)? else { unreachable!("three bytes were taken") };
        ensure!(version == EVENT_VERSION, "an event of version {version}");
        let seq = varint(&mut event)?;
        take(&mut event, TIME_LEN + 2 * ID_LEN)?;
        varint(&mut event)?;
        take(&mut event, DIGEST_LEN + if flags & FLAG_TARGET == 0 { 0 } else { ID_LEN })?;
        let mut said = counted(&mut event)?;
        if kind != MESSAGE_SENT || flags & FLAG_BLANKED != 0 {
            return Ok(Self { entity, event: bytes, is_inbox, seq, text: None });
        }
        // The format.
        take(&mut said, 1)?;
        Ok(Self { entity, event: bytes, is_inbox, seq, text: Some(counted(&mut said)?) })
    }
}

#[inline]
fn take<'b>(rest: &mut &'b [u8], length: usize) -> Result<&'b [u8]> {
    let (taken, behind) = rest.split_at_checked(length).context("an event that is cut")?;
    *rest = behind;
    Ok(taken)
}

#[inline]
fn varint(rest: &mut &[u8]) -> Result<u64> {
    let (value, length) = peek_varint(rest)?.context("a number that is cut")?;
    *rest = &rest[length..];
    Ok(value)
}

#[inline]
fn counted<'b>(rest: &mut &'b [u8]) -> Result<&'b [u8]> {
    let length = usize::try_from(varint(rest)?)?;
    take(rest, length)
}
