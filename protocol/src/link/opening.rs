//! How a link between machines opens: each side proves that it knows the deployment's link key.
//!
//! The router challenges, the edge proves, the router proves back. Nonces of both sides are in both
//! proofs, so neither a recorded opening nor a mirrored one is taken. This authenticates the two ends;
//! it hides nothing: across a network that others share, the connection is TLS.

use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::record::LinkId;
use crate::codec::{DecodeError, Reader, Writer};
use crate::framing::{RawFrame, frame_bytes};
use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::text::Text;

/// The version of the link frames in this crate.
pub const LINK_VERSION: u8 = 1;

/// The key of a deployment's links; every edge and router has it.
#[derive(Clone)]
pub struct LinkKey(pub [u8; 32]);

impl core::fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("LinkKey")
    }
}

/// From a router, as soon as an edge has connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The lowest version that the router speaks.
    pub version_min: u8,
    /// The highest.
    pub version_max: u8,
    /// The router, random at its start.
    pub router: u64,
    /// Random, new for each connection.
    pub nonce: [u8; 16],
}

/// From an edge, in answer to a [`Challenge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The version that both speak from here on.
    pub version: u8,
    /// The link that this connection carries.
    pub link: LinkId,
    /// Random, new for each connection.
    pub nonce: [u8; 16],
    /// That the edge knows the key: [`LinkKey::edge_proof`].
    pub proof: [u8; 32],
}

/// From a router: the proof was right, frames may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// That the router knows the key: [`LinkKey::router_proof`].
    pub proof: [u8; 32],
}

/// From a router, before it closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// One of [`crate::ErrorCode`], or a newer one: its range says what to do.
    pub code: u16,
    /// For a person.
    pub text: Text,
}

/// A frame of either side that is neither up nor down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// 0x01, router.
    Challenge(Challenge),
    /// 0x02, edge.
    Open(Open),
    /// 0x03, router.
    Opened(Opened),
    /// 0x04, router.
    Refused(Refused),
    /// 0x05, either: sent when nothing else was for [`ALIVE_EVERY_MS`].
    Alive,
}

/// An edge that has not sent [`Open`] after this many milliseconds is disconnected.
pub const OPENING_TIMEOUT_MS: u64 = 5_000;
/// A side that sent nothing for this many milliseconds says that it is alive.
pub const ALIVE_EVERY_MS: u64 = 1_000;
/// A side that heard nothing for this many milliseconds ends the connection.
pub const SILENCE_MAX_MS: u64 = 3_000;

/// Type of [`Opening::Alive`].
pub const ALIVE: u8 = 0x05;

impl Opening {
    /// The whole frame: length, type, body.
    pub fn to_bytes(&self) -> Bytes {
        match self {
            Self::Challenge(challenge) => frame_bytes(0x01, 32, |out| {
                out.u8(challenge.version_min);
                out.u8(challenge.version_max);
                out.u64(challenge.router);
                out.raw(&challenge.nonce);
            }),
            Self::Open(open) => frame_bytes(0x02, 64, |out| {
                out.u8(open.version);
                out.u64(open.link.0);
                out.raw(&open.nonce);
                out.raw(&open.proof);
            }),
            Self::Opened(opened) => frame_bytes(0x03, 32, |out| out.raw(&opened.proof)),
            Self::Refused(refused) => frame_bytes(0x04, 64, |out| {
                out.u16(refused.code);
                out.bytes(refused.text.as_bytes());
            }),
            Self::Alive => frame_bytes(ALIVE, 0, |_| {}),
        }
    }

    /// Decodes a frame's body; bytes behind what this version knows are ignored.
    ///
    /// # Errors
    /// [`DecodeError::UnknownFrame`] for another type, and what the body's decoding returns.
    pub fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
        let input = &mut Reader::new(raw.body);
        Ok(match raw.kind {
            0x01 => Self::Challenge(Challenge {
                version_min: input.u8()?,
                version_max: input.u8()?,
                router: input.u64()?,
                nonce: input.array()?,
            }),
            0x02 => Self::Open(Open {
                version: input.u8()?,
                link: LinkId(input.u64()?),
                nonce: input.array()?,
                proof: input.array()?,
            }),
            0x03 => Self::Opened(Opened { proof: input.array()? }),
            0x04 => Self::Refused(Refused { code: input.u16()?, text: input.text(ERROR_TEXT_BYTES_MAX)? }),
            ALIVE => Self::Alive,
            _ => return Err(DecodeError::UnknownFrame),
        })
    }
}

impl LinkKey {
    /// What an edge sends in [`Open::proof`].
    pub fn edge_proof(&self, challenge: &Challenge, version: u8, link: LinkId, nonce: &[u8; 16]) -> [u8; 32] {
        self.mac(b"panda link edge 1", challenge, version, link, nonce).finalize().into_bytes().into()
    }

    /// What a router sends in [`Opened::proof`].
    pub fn router_proof(&self, challenge: &Challenge, open: &Open) -> [u8; 32] {
        self.mac(b"panda link router 1", challenge, open.version, open.link, &open.nonce).finalize().into_bytes().into()
    }

    /// Whether an edge knows this key; takes the same time whatever the proof is.
    pub fn takes_edge(&self, challenge: &Challenge, open: &Open) -> bool {
        self.mac(b"panda link edge 1", challenge, open.version, open.link, &open.nonce)
            .verify_slice(&open.proof)
            .is_ok()
    }

    /// Whether a router knows this key; takes the same time whatever the proof is.
    pub fn takes_router(&self, challenge: &Challenge, open: &Open, opened: &Opened) -> bool {
        self.mac(b"panda link router 1", challenge, open.version, open.link, &open.nonce)
            .verify_slice(&opened.proof)
            .is_ok()
    }

    fn mac(&self, label: &[u8], challenge: &Challenge, version: u8, link: LinkId, nonce: &[u8; 16]) -> Hmac<Sha256> {
        let mut said = Writer::with_capacity(64);
        said.u8(version);
        said.u64(challenge.router);
        said.u64(link.0);
        said.raw(&challenge.nonce);
        said.raw(nonce);
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(label);
        mac.update(&said.into_inner());
        mac
    }
}
