//! The record layer of TLS 1.3 (RFC 8446, section 5), for connections whose handshake rustls did.
//!
//! rustls keeps 3.3 KB for each connection, most of them for a handshake that is over and for keys that are spread out
//! for use. An idle connection needs the keys, two counters and what the next keys are made of, so this takes the
//! connection over by the way that rustls has for kernels that encrypt (`rustls::kernel`), and spreads a key out for
//! each record, which takes a fraction of what its system call does. rustls still makes the next keys.
//!
//! There is no I/O here: records are opened and sealed in memory of the caller.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{ConnectionTrafficSecrets, Error, ProtocolVersion};

/// Type, version and length.
pub(super) const HEADER_BYTES: usize = 5;
const TAG_BYTES: usize = 16;
/// What a record holds at most.
const PLAIN_BYTES_MAX: usize = 16 * 1024;
/// The same with its type, padding and tag.
const SEALED_BYTES_MAX: usize = PLAIN_BYTES_MAX + 256;
/// What sealing adds: header, type and tag.
pub(super) const SEAL_BYTES: usize = HEADER_BYTES + 1 + TAG_BYTES;
/// A change of keys, sealed.
pub(super) const KEY_UPDATE_BYTES: usize = KEY_UPDATE.len() + 1 + SEAL_BYTES;

/// Records in a row that may bring nothing: each costs us work, and a change of keys most.
const IDLE_RECORDS_MAX: u8 = 32;
/// Records after which our key is changed. AES-GCM is good for 2^24.5 (RFC 8446, section 5.5).
const RECORDS_A_KEY_MAX: u64 = 1 << 23;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;
/// A handshake message that changes the keys of who sends it. Whether the other side is to do so, too, follows.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const USER_CANCELED: u8 = 90;

/// What is wrong with what the peer sent. Its number is that of the alert which says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub(super) enum Fault {
    #[error("an unexpected TLS record")]
    Unexpected = 10,
    #[error("a TLS record that was altered")]
    Altered = 20,
    #[error("a TLS record that is too long")]
    TooLong = 22,
    #[error("a TLS message with a value that does not exist")]
    Illegal = 47,
    #[error("a malformed TLS message")]
    Malformed = 50,
    #[error("no further keys can be made")]
    Internal = 80,
    /// To which there is no answer.
    #[error("the peer ended the connection with a TLS alert")]
    Alert = 255,
}

/// What a record holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'r> {
    Data(&'r [u8]),
    /// Nothing for us.
    Nothing,
    /// The peer sends nothing more.
    Goodbye,
}

/// Both directions of an established connection.
pub(super) struct Records {
    receives: Keys,
    sends: Keys,
    next: KernelConnection<ServerConnectionData>,
    /// Our keys are to be changed, and the peer to be told, before anything else is sent.
    change_owed: bool,
    /// Records since the last that brought data.
    idle: u8,
}

/// What an idle connection under TLS 1.3 has beside its socket.
const _: () = assert!(size_of::<Records>() <= 704);

struct Keys {
    secrets: ConnectionTrafficSecrets,
    /// The number of the next record under them.
    number: u64,
}

impl Keys {
    fn new((number, secrets): (u64, ConnectionTrafficSecrets)) -> Self {
        Self { secrets, number }
    }

    /// The key, and the nonce of the next record. Each nonce is given once.
    fn next(&mut self) -> Option<(LessSafeKey, Nonce)> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match &self.secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let key = LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?);
        let mut nonce: [u8; 12] = iv.as_ref().try_into().ok()?;
        nonce[4..].iter_mut().zip(self.number.to_be_bytes()).for_each(|(byte, number)| *byte ^= number);
        self.number = self.number.checked_add(1)?;
        Some((key, Nonce::assume_unique_for_key(nonce)))
    }
}

impl Records {
    /// Takes over a connection whose handshake is done, and that has nothing more to send by itself.
    ///
    /// # Errors
    /// What rustls says. Whoever asks made sure of what it wants.
    #[expect(clippy::disallowed_methods, reason = "this is what its way to the secrets is open for")]
    pub(super) fn take_over(connection: UnbufferedServerConnection) -> Result<Self, Error> {
        let (secrets, next) = connection.dangerous_into_kernel_connection()?;
        let (receives, sends) = (Keys::new(secrets.rx), Keys::new(secrets.tx));
        Ok(Self { receives, sends, next, change_owed: false, idle: 0 })
    }

    /// Whether a connection can be taken over.
    pub(super) fn can_take_over(connection: &UnbufferedServerConnection) -> bool {
        connection.protocol_version() == Some(ProtocolVersion::TLSv1_3) && !connection.is_handshaking()
    }

    /// Opens the first record of `incoming` in its place: what it holds, and its bytes on the wire. `None`: it is
    /// not whole. A record's length is looked at as soon as it is known.
    pub(super) fn open<'r>(&mut self, incoming: &'r mut [u8]) -> Result<Option<(Content<'r>, usize)>, Fault> {
        let Some((header, rest)) = incoming.split_first_chunk_mut::<HEADER_BYTES>() else { return Ok(None) };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        // Everything is encrypted by now, and looks like data.
        if header[0] != DATA {
            return Err(Fault::Unexpected);
        }
        if len > SEALED_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let Some(sealed) = rest.get_mut(..len) else { return Ok(None) };
        let (key, nonce) = self.receives.next().ok_or(Fault::Internal)?;
        let opened = key.open_in_place(nonce, Aad::from(*header), sealed).map_err(|_| Fault::Altered)?;
        // All of it counts, padding, too.
        if opened.len() > PLAIN_BYTES_MAX + 1 {
            return Err(Fault::TooLong);
        }
        // The type stands behind the content, and zeros behind it.
        let end = opened.iter().rposition(|byte| *byte != 0).ok_or(Fault::Unexpected)?;
        let (kind, content) = (opened[end], &opened[..end]);
        self.idle = if kind == DATA && !content.is_empty() { 0 } else { self.idle + 1 };
        if self.idle > IDLE_RECORDS_MAX {
            return Err(Fault::Unexpected);
        }
        let content = match kind {
            DATA => Content::Data(content),
            ALERT => heard_alert(content)?,
            HANDSHAKE => self.heard_handshake(content)?,
            _ => return Err(Fault::Unexpected),
        };
        Ok(Some((content, HEADER_BYTES + len)))
    }

    /// The only handshake message that a client has now is a change of its keys, which ends its record.
    fn heard_handshake(&mut self, content: &[u8]) -> Result<Content<'static>, Fault> {
        let asks = match content.strip_prefix(&KEY_UPDATE) {
            Some([0]) => false,
            Some([1]) => true,
            Some([_]) => return Err(Fault::Illegal),
            Some(_) => return Err(Fault::Malformed),
            None => return Err(Fault::Unexpected),
        };
        self.receives = self.next.update_rx_secret().map(Keys::new).map_err(|_| Fault::Internal)?;
        // However often it asks, one change before our next data is an answer.
        self.change_owed |= asks;
        Ok(Content::Nothing)
    }

    /// What is to be sent before [`Self::seal_data`]: our own change of keys, if one is due.
    pub(super) fn change_keys(&mut self, into: &mut [u8; KEY_UPDATE_BYTES]) -> Result<usize, Fault> {
        if !self.change_owed && self.sends.number < RECORDS_A_KEY_MAX {
            return Ok(0);
        }
        let [kind, a, b, len] = KEY_UPDATE;
        let sealed = self.seal(HANDSHAKE, &[kind, a, b, len, 0], into)?;
        self.sends = self.next.update_tx_secret().map(Keys::new).map_err(|_| Fault::Internal)?;
        self.change_owed = false;
        Ok(sealed)
    }

    /// Seals at most 16 KiB of data as one record, [`SEAL_BYTES`] longer than they are; returns its length.
    pub(super) fn seal_data(&mut self, data: &[u8], into: &mut [u8]) -> Result<usize, Fault> {
        self.seal(DATA, data, into)
    }

    /// That we send nothing more; returns its length.
    pub(super) fn seal_goodbye(&mut self, into: &mut [u8]) -> Result<usize, Fault> {
        self.seal(ALERT, &[1, CLOSE_NOTIFY], into)
    }

    /// What was wrong; returns its length.
    pub(super) fn seal_fault(&mut self, fault: Fault, into: &mut [u8]) -> Result<usize, Fault> {
        if fault == Fault::Alert { Ok(0) } else { self.seal(ALERT, &[FATAL, fault as u8], into) }
    }

    fn seal(&mut self, kind: u8, content: &[u8], into: &mut [u8]) -> Result<usize, Fault> {
        debug_assert!(content.len() <= PLAIN_BYTES_MAX);
        let sealed = content.len() + 1 + TAG_BYTES;
        let [high, low] = u16::try_from(sealed).map_err(|_| Fault::Internal)?.to_be_bytes();
        let header = [DATA, 3, 3, high, low];
        let (key, nonce) = self.sends.next().ok_or(Fault::Internal)?;
        let into = into.get_mut(..HEADER_BYTES + sealed).ok_or(Fault::Internal)?;
        let (start, rest) = into.split_at_mut(HEADER_BYTES);
        let (inner, tag) = rest.split_at_mut(content.len() + 1);
        start.copy_from_slice(&header);
        inner[..content.len()].copy_from_slice(content);
        inner[content.len()] = kind;
        let sum = key.seal_in_place_separate_tag(nonce, Aad::from(header), inner).map_err(|_| Fault::Internal)?;
        tag.copy_from_slice(sum.as_ref());
        Ok(HEADER_BYTES + sealed)
    }
}

fn heard_alert(content: &[u8]) -> Result<Content<'static>, Fault> {
    match content {
        [_, CLOSE_NOTIFY] => Ok(Content::Goodbye),
        [_, USER_CANCELED] => Ok(Content::Nothing),
        [_, _] => Err(Fault::Alert),
        // RFC 8446, section 5.4.
        [] => Err(Fault::Unexpected),
        _ => Err(Fault::Malformed),
    }
}

#[cfg(test)]
mod tests;
