//! What stands in the command log.

use bytes::Bytes;

use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::{Counter, DeviceId, EntityId, Seq, UserId};
use crate::limits::{EVENT_BYTES_MAX, FRAME_BYTES_MAX};

/// The version of the record bytes that this code writes.
pub(crate) const RECORD_VERSION: u8 = 1;

/// One edge's end of its links; random, new at each start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

/// Where the answer of a command goes: down this link, with this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommandOrigin {
    /// The link.
    pub link: LinkId,
    /// The edge's own number of the command.
    pub token: u64,
}

/// A client's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRecord {
    /// Who waits for the answer.
    pub origin: CommandOrigin,
    /// The chat or inbox.
    pub entity: EntityId,
    /// Who asks; checked by the edge.
    pub actor: UserId,
    /// From which device.
    pub device: DeviceId,
    /// The command's counter.
    pub counter: Counter,
    /// The counter of the command before.
    pub after: Counter,
    /// Kind and body as in [`crate::frame::CommandBody`], unchanged from the client's frame.
    pub command: Bytes,
}

/// What an event of one entity does to another, at most one per event and target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Effect {
    /// The entity that the event is of.
    pub source: EntityId,
    /// The event.
    pub source_seq: Seq,
    /// The entity that is changed.
    pub target: EntityId,
    /// The event's canonical bytes: the effect is a function of them alone.
    pub event: Bytes,
}

/// A record of the command log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// 1: a client's command.
    Command(CommandRecord),
    /// 2: an effect of another entity's event.
    Effect(Effect),
    /// 3: a router owns the shard from here on; the record's offset is its generation.
    Takeover {
        /// The router, random at its start.
        router: u64,
        /// The highest rules version that it supports.
        rules_max: u16,
    },
    /// 4: from here on this rules version holds in this shard.
    Rules {
        /// The version.
        version: u16,
    },
}

impl Record {
    /// The record's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Writer::with_capacity(128);
        out.u8(RECORD_VERSION);
        match self {
            Self::Command(command) => {
                out.u8(1);
                out.u64(command.origin.link.0);
                out.varint(command.origin.token);
                out.value(&command.entity);
                out.value(&command.actor);
                out.value(&command.device);
                out.value(&command.counter);
                out.value(&command.after);
                out.bytes(&command.command);
            }
            Self::Effect(effect) => {
                out.u8(2);
                out.value(&effect.source);
                out.value(&effect.source_seq);
                out.value(&effect.target);
                out.bytes(&effect.event);
            }
            Self::Takeover { router, rules_max } => {
                out.u8(3);
                out.u64(*router);
                out.u16(*rules_max);
            }
            Self::Rules { version } => {
                out.u8(4);
                out.u16(*version);
            }
        }
        out.freeze()
    }

    /// Reads a record; bytes behind what this version knows are ignored.
    ///
    /// # Errors
    /// [`DecodeError::UnknownVersion`] for a version or kind that this code does not know: the
    /// router gives the shard up and does not skip it. Other errors mean that the log is corrupt.
    pub fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        let input = &mut Reader::new(bytes);
        if input.u8()? != RECORD_VERSION {
            return Err(DecodeError::UnknownVersion);
        }
        Ok(match input.u8()? {
            1 => Self::Command(CommandRecord {
                origin: CommandOrigin { link: LinkId(input.u64()?), token: input.varint()? },
                entity: input.value()?,
                actor: input.value()?,
                device: input.value()?,
                counter: input.value()?,
                after: input.value()?,
                command: input.bytes(FRAME_BYTES_MAX)?,
            }),
            2 => Self::Effect(Effect {
                source: input.value()?,
                source_seq: input.value()?,
                target: input.value()?,
                event: input.bytes(EVENT_BYTES_MAX)?,
            }),
            3 => Self::Takeover { router: input.u64()?, rules_max: input.u16()? },
            4 => Self::Rules { version: input.u16()? },
            _ => return Err(DecodeError::UnknownVersion),
        })
    }

    /// The entity that the record is about; none for the shard's own records.
    pub const fn entity(&self) -> Option<EntityId> {
        match self {
            Self::Command(command) => Some(command.entity),
            Self::Effect(effect) => Some(effect.target),
            Self::Takeover { .. } | Self::Rules { .. } => None,
        }
    }
}
