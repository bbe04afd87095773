//! Identifiers and the small numbers that order things.
//!
//! Every identifier is 16 bytes. The first byte says what it names (high nibble) and how its bytes
//! were made (low nibble), so that an identifier of one kind is never taken for one of another. Its
//! text form is 26 characters of lower-case Crockford base32; there is exactly one text per identifier.

use core::fmt;
use core::str::FromStr;

use sha2::{Digest, Sha256};

/// Bytes in an identifier.
pub const ID_LEN: usize = 16;
/// Characters in an identifier's text form.
pub const ID_TEXT_LEN: usize = 26;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What the first byte of an identifier says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum IdKind {
    /// A user; also names that user's inbox.
    User = 0x11,
    /// One installation of a client.
    Device = 0x21,
    /// A chat made by a user, with any number of members.
    GroupChat = 0x31,
    /// The one chat of two users.
    DirectChat = 0x41,
    /// One live connection.
    Session = 0x51,
}

/// Why bytes or text are not an identifier of the kind asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not 26 characters of lower-case Crockford base32 that fit in 128 bits.
    #[error("an identifier is 26 characters of lower-case Crockford base32")]
    Text,
    /// The first byte is not the one of this kind of identifier.
    #[error("the identifier is of another kind")]
    Kind,
}

fn encode_text(bytes: &[u8; ID_LEN]) -> [u8; ID_TEXT_LEN] {
    let mut value = u128::from_be_bytes(*bytes);
    let mut out = [0; ID_TEXT_LEN];
    for slot in out.iter_mut().rev() {
        *slot = ALPHABET[(value & 31) as usize];
        value >>= 5;
    }
    out
}

fn decode_text(text: &str) -> Result<[u8; ID_LEN], IdError> {
    let text = text.as_bytes();
    // 26 characters carry 130 bits: the first may use only its low three.
    if text.len() != ID_TEXT_LEN || text[0] > b'7' {
        return Err(IdError::Text);
    }
    let mut value: u128 = 0;
    for &character in text {
        let digit = ALPHABET.iter().position(|&known| known == character).ok_or(IdError::Text)?;
        value = value << 5 | digit as u128;
    }
    Ok(value.to_be_bytes())
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $($kind:ident)|+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// Takes the bytes if their first byte names this kind.
            ///
            /// # Errors
            /// [`IdError::Kind`] if the first byte is another kind's.
            pub fn from_bytes(bytes: [u8; ID_LEN]) -> Result<Self, IdError> {
                if $(bytes[0] == IdKind::$kind as u8)||+ { Ok(Self(bytes)) } else { Err(IdError::Kind) }
            }

            /// The identifier's bytes.
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let text = encode_text(&self.0);
                f.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::from_bytes(decode_text(text)?)
            }
        }
    };
}

macro_rules! random_identifier {
    ($name:ident, $kind:ident) => {
        impl $name {
            /// Makes an identifier from 16 random bytes; the first is replaced by the kind.
            pub fn from_random(mut random: [u8; ID_LEN]) -> Self {
                random[0] = IdKind::$kind as u8;
                Self(random)
            }
        }
    };
}

identifier!(
    /// A user. The user's inbox has the same bytes.
    UserId,
    User
);
identifier!(
    /// One installation of a client; made by the client and kept by it.
    DeviceId,
    Device
);
identifier!(
    /// A chat of either kind.
    ChatId,
    GroupChat | DirectChat
);
identifier!(
    /// One live connection; made by the edge.
    SessionId,
    Session
);
identifier!(
    /// What a log record is about and what numbers events: a chat, or a user's inbox.
    EntityId,
    User | GroupChat | DirectChat
);
random_identifier!(UserId, User);
random_identifier!(DeviceId, Device);
random_identifier!(SessionId, Session);

impl DeviceId {
    /// The device of events that no client's command made directly: all zeros behind the kind.
    pub const NONE: Self = {
        let mut bytes = [0; ID_LEN];
        bytes[0] = IdKind::Device as u8;
        Self(bytes)
    };

    /// The device that an HTTP `Idempotency-Key` stands for: a hash of the user and the key.
    pub fn from_idempotency_key(user: UserId, key: &[u8]) -> Self {
        Self(hashed(IdKind::Device, b"panda idempotency key", &[user.as_bytes(), key]))
    }
}

impl ChatId {
    /// The chat that `creator` makes from `device` by its create command `counter`: a repeated
    /// create names the same chat.
    pub fn group(creator: UserId, device: DeviceId, counter: Counter) -> Self {
        Self(hashed(IdKind::GroupChat, b"panda group chat", &[&creator.0, &device.0, &counter.0.to_be_bytes()]))
    }

    /// The one direct chat of two users, whoever asks first.
    pub fn direct(one: UserId, other: UserId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        Self(hashed(IdKind::DirectChat, b"panda direct chat", &[&low.0, &high.0]))
    }

    /// Whether this is a chat of exactly two users.
    pub fn is_direct(&self) -> bool {
        self.0[0] == IdKind::DirectChat as u8
    }
}

fn hashed(kind: IdKind, purpose: &[u8], parts: &[&[u8]]) -> [u8; ID_LEN] {
    let mut hash = Sha256::new();
    hash.update(purpose);
    for part in parts {
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut bytes = [0; ID_LEN];
    bytes.copy_from_slice(&digest[..ID_LEN]);
    bytes[0] = kind as u8;
    bytes
}

impl From<ChatId> for EntityId {
    fn from(chat: ChatId) -> Self {
        Self(chat.0)
    }
}

impl From<UserId> for EntityId {
    fn from(user: UserId) -> Self {
        Self(user.0)
    }
}

impl EntityId {
    /// The chat, if this is one.
    pub fn chat(&self) -> Option<ChatId> {
        ChatId::from_bytes(self.0).ok()
    }

    /// The owner of the inbox, if this is one.
    pub fn inbox(&self) -> Option<UserId> {
        UserId::from_bytes(self.0).ok()
    }

    /// The shard of this entity when there are `shards` of them (at least 1).
    ///
    /// Both halves are mixed with the finalizer of MurmurHash3 and the result is scaled, not taken
    /// modulo, so every count of shards is even. `vectors/shards.json` pins it: it never changes.
    pub fn shard(&self, shards: u16) -> ShardId {
        let half = |from: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&self.0[from..from + 8]);
            u64::from_be_bytes(bytes)
        };
        let mixed = fmix64(fmix64(half(0)) ^ half(8));
        let scaled = (u128::from(mixed) * u128::from(shards.max(1))) >> 64;
        // Below `shards`, which is a u16.
        ShardId(u16::try_from(scaled).unwrap_or(0))
    }
}

const fn fmix64(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ value >> 33
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// An event's number in its chat or inbox: dense, from 1. 0 stands before the first event.
    Seq(u64)
);
number!(
    /// A command's number within (chat, user, device), made by the client: rising, from 1. As an
    /// `after`, 0 says that no command went before.
    Counter(u64)
);
number!(
    /// Microseconds since 1970-01-01 UTC.
    Time(u64)
);
number!(
    /// One partition of the command log.
    ShardId(u16)
);
number!(
    /// A shard owner's term: the place of its `Takeover` record. A lower one is stale, whatever the log's epoch.
    Generation(u64)
);

/// Bits of a [`Generation`] that hold the offset; the epoch is above them.
const GENERATION_OFFSET_BITS: u32 = 40;
/// The highest epoch that fits into a varint above the offset.
const GENERATION_EPOCH_MAX: u64 = (1 << (62 - GENERATION_OFFSET_BITS)) - 1;

impl Generation {
    /// The term that begins with the `Takeover` at this position: epoch, then offset. Terms rise with their
    /// positions through epoch 2^22 - 1 and offset 2^40 - 1; those beyond are the same term.
    #[must_use]
    pub const fn of(takeover: Position) -> Self {
        const OFFSET_MAX: u64 = (1 << GENERATION_OFFSET_BITS) - 1;
        // The widening of a u32 loses nothing.
        let epoch = takeover.epoch as u64;
        let epoch = if epoch < GENERATION_EPOCH_MAX { epoch } else { GENERATION_EPOCH_MAX };
        let offset = if takeover.offset < OFFSET_MAX { takeover.offset } else { OFFSET_MAX };
        Self(epoch << GENERATION_OFFSET_BITS | offset)
    }

    /// The epoch of the log in which the term began.
    #[must_use]
    pub const fn epoch(self) -> u32 {
        // The last of the epochs that a generation tells apart is of 22 bits.
        (self.0 >> GENERATION_OFFSET_BITS) as u32
    }
}

impl Seq {
    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Which event store an entity's numbers belong to; another one after a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Incarnation(pub [u8; 8]);

/// What a client holds of a chat or inbox: it has seen every event up to `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The store that numbered the events.
    pub incarnation: Incarnation,
    /// The last event seen; 0 for none.
    pub seq: Seq,
}

/// A command's place in the log. Ordered by epoch, then offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Which log: raised whenever the log is another one than before.
    pub epoch: u32,
    /// The record's offset in its shard of that log.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_rise_with_their_takeovers_and_fit_a_varint() {
        let of = |epoch, offset| Generation::of(Position { epoch, offset });
        let offset_max = (1 << 40) - 1;
        let epoch_max = (1 << 22) - 1;
        let rising = [
            of(0, 0),
            of(0, 1),
            of(0, offset_max),
            of(1, 0),
            of(1, 70_001),
            of(2, 5),
            of(epoch_max, 0),
            of(epoch_max, offset_max),
        ];
        assert!(rising.is_sorted_by(|a, b| a < b), "{rising:?}");
        assert_eq!(of(1, 70_001), Generation(1_099_511_697_777));
        assert_eq!(of(u32::MAX, u64::MAX), Generation((1 << 62) - 1), "the largest varint");
    }
}
