//! A TLS connection without its socket: what came is opened, what leaves is sealed.

use std::io;

use bytes::Bytes;
use rustls::Error;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, WriteTraffic};
use tokio::io::ReadBuf;

use super::INCOMING_BYTES_MAX;
use super::records::{Content, Fault, KEY_UPDATE_BYTES, Records};

/// A close_notify, encrypted, and a change of keys before it.
const GOODBYE_BYTES_MAX: usize = 256;

/// Everything but the socket.
pub(super) struct Tls {
    pub(super) session: Session,
    /// Read from the socket and not decrypted: at most [`INCOMING_BYTES_MAX`], and one read more while `unread`. What
    /// was decrypted of a handshake message that is not whole stays here, too.
    pub(super) incoming: Vec<u8>,
    /// There may be whole records in `incoming`, behind the one that `plain` is of.
    pub(super) unread: bool,
    /// Decrypted, and found no room where it was wanted: the rest of one record.
    pub(super) plain: Bytes,
    /// Not taken by the socket yet: at most a record, and what the protocol itself has to say.
    pub(super) outgoing: Bytes,
    /// The peer said that nothing more comes.
    pub(super) ended: bool,
    /// So did we.
    pub(super) closed: bool,
    /// The peer broke the protocol: nothing more is read or encrypted.
    pub(super) broken: bool,
}

/// Who opens and seals.
#[expect(clippy::large_enum_variant, reason = "all but a few of those that live long are the large one")]
pub(super) enum Session {
    /// In the handshake, and after one of TLS 1.2, which few ask for.
    Rustls(Box<UnbufferedServerConnection>),
    /// After a handshake of TLS 1.3.
    Records(Records),
}

impl Tls {
    pub(super) fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            session: Session::Rustls(Box::new(connection)),
            incoming: Vec::new(),
            unread: false,
            plain: Bytes::new(),
            outgoing: Bytes::new(),
            ended: false,
            closed: false,
            broken: false,
        }
    }

    /// Whether the peer waits for nothing more of the handshake, though something of it may not have left yet. The
    /// end of one of TLS 1.2 is ours to send.
    pub(super) fn is_established(&self) -> bool {
        match &self.session {
            Session::Rustls(connection) => Records::can_take_over(connection),
            Session::Records(_) => true,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match &self.session {
            Session::Rustls(connection) => connection.is_handshaking(),
            Session::Records(_) => false,
        }
    }

    /// After the handshake: the same connection with as little as can be.
    pub(super) fn settled(mut self) -> io::Result<Self> {
        let session = match self.session {
            Session::Rustls(mut connection) if Records::can_take_over(&connection) => {
                let shown = if self.unread { &mut [] } else { &mut self.incoming[..] };
                // What it still has to say is said by it: its ticket.
                rustls_write(&mut connection, shown, &mut self.outgoing, |_| Ok(()))?;
                Session::Records(Records::take_over(*connection).map_err(io::Error::other)?)
            }
            other => other,
        };
        Ok(Self { session, ..self })
    }

    /// Decrypts `incoming` into `into`, and keeps what is not whole or finds no room.
    pub(super) fn take(&mut self, incoming: &mut [u8], into: &mut ReadBuf<'_>) -> io::Result<()> {
        let mut used = 0;
        self.unread = true;
        // A record that did not find room is the last that is looked at.
        while self.unread && self.plain.is_empty() && !self.ended {
            used += match &self.session {
                Session::Rustls(_) => self.take_from_rustls(&mut incoming[used..], into)?,
                Session::Records(_) => self.take_record(&mut incoming[used..], into)?,
            };
        }
        // Without whole records in it, what is left is the beginning of one message.
        if !self.unread && incoming.len() - used > INCOMING_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.incoming = if self.ended { Vec::new() } else { incoming[used..].to_vec() };
        Ok(())
    }

    /// Opens one record. Returns how much of `incoming` it was.
    fn take_record(&mut self, incoming: &mut [u8], into: &mut ReadBuf<'_>) -> io::Result<usize> {
        let Session::Records(records) = &mut self.session else { return Ok(0) };
        match records.open(incoming) {
            Ok(Some((content, len))) => {
                match content {
                    Content::Data(data) => give(&mut self.plain, data, into),
                    Content::Nothing => {}
                    Content::Goodbye => self.ended = true,
                }
                Ok(len)
            }
            Ok(None) => {
                self.unread = false;
                Ok(0)
            }
            Err(fault) => {
                self.broken = true;
                let mut alert = [0; GOODBYE_BYTES_MAX];
                let len = records.seal_fault(fault, &mut alert).map_err(of_fault)?;
                self.queue(&alert[..len]);
                Err(of_fault(fault))
            }
        }
    }

    /// Lets rustls do its next step. Returns how much of `incoming` is done with.
    fn take_from_rustls(&mut self, incoming: &mut [u8], into: &mut ReadBuf<'_>) -> io::Result<usize> {
        let Self { session: Session::Rustls(connection), plain, outgoing, .. } = self else { return Ok(0) };
        let status = connection.process_tls_records(incoming);
        let mut used = status.discard;
        match status.state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    used += record.discard;
                    give(plain, record.payload, into);
                }
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, outgoing)?,
            // It is queued, which is all that is to be known here.
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(ConnectionState::PeerClosed) => self.ended = true,
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
                self.unread = false;
            }
            // Early data is never announced.
            Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
            Err(error) => {
                self.broken = true;
                // If there is an alert that says so, it comes before anything else is looked at.
                if let Ok(ConnectionState::EncodeTlsData(mut data)) =
                    connection.process_tls_records(&mut incoming[used..]).state
                {
                    encode(&mut data, outgoing)?;
                }
                return Err(invalid(error));
            }
        }
        Ok(used)
    }

    /// Encrypts at most 16 KiB as one record; returns its length. What the protocol itself has to say goes before it.
    pub(super) fn seal(&mut self, data: &[u8], record: &mut [u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        match &mut self.session {
            Session::Rustls(connection) => {
                // What was decrypted already is to be shown again. Whole records are not: they wait for a reader.
                let shown = if self.unread { &mut [] } else { &mut self.incoming[..] };
                rustls_write(connection, shown, &mut self.outgoing, |traffic| {
                    traffic.encrypt(data, record).map_err(io::Error::other)
                })
            }
            Session::Records(records) => {
                let mut change = [0; KEY_UPDATE_BYTES];
                let len = records.change_keys(&mut change).map_err(of_fault)?;
                let sealed = records.seal_data(data, record).map_err(of_fault)?;
                self.queue(&change[..len]);
                Ok(sealed)
            }
        }
    }

    /// Queues that we send nothing more.
    pub(super) fn say_goodbye(&mut self) -> io::Result<()> {
        let mut goodbye = [0; GOODBYE_BYTES_MAX];
        let len = match &mut self.session {
            Session::Rustls(connection) if !self.broken => {
                let shown = if self.unread { &mut [] } else { &mut self.incoming[..] };
                rustls_write(connection, shown, &mut self.outgoing, |traffic| {
                    traffic.queue_close_notify(&mut goodbye).map_err(io::Error::other)
                })?
            }
            Session::Records(records) if !self.broken => records.seal_goodbye(&mut goodbye).map_err(of_fault)?,
            _ => 0,
        };
        self.queue(&goodbye[..len]);
        Ok(())
    }

    /// Puts bytes behind what waits for the socket.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.outgoing = [&self.outgoing[..], bytes].concat().into();
        }
    }
}

/// Puts a message of the protocol itself behind what waits for the socket. They are few: the server's half of the
/// handshake, tickets, an alert, and the answer to a change of keys, of which one at most waits for our next write.
fn encode<D>(data: &mut EncodeTlsData<'_, D>, outgoing: &mut Bytes) -> io::Result<()> {
    let len = match data.encode(&mut []) {
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => required_size,
        encoded => return encoded.map(|_| ()).map_err(io::Error::other),
    };
    let mut longer = vec![0; outgoing.len() + len];
    let (before, room) = longer.split_at_mut(outgoing.len());
    before.copy_from_slice(outgoing);
    data.encode(room).map_err(io::Error::other)?;
    *outgoing = longer.into();
    Ok(())
}

/// Lets rustls encrypt something, behind what the protocol itself has to say. It is to be shown what it decrypted before
/// and could not use yet, and nothing that is whole.
fn rustls_write<T>(
    connection: &mut UnbufferedServerConnection,
    shown: &mut [u8],
    outgoing: &mut Bytes,
    write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> io::Result<T>,
) -> io::Result<T> {
    loop {
        let status = connection.process_tls_records(shown);
        debug_assert_eq!(status.discard, 0, "nothing of it is whole");
        match status.state.map_err(invalid)? {
            ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic),
            ConnectionState::EncodeTlsData(mut data) => encode(&mut data, outgoing)?,
            ConnectionState::TransmitTlsData(data) => data.done(),
            ConnectionState::PeerClosed => {}
            _ => return Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Gives out what was decrypted; what finds no room is kept.
fn give(kept: &mut Bytes, data: &[u8], into: &mut ReadBuf<'_>) {
    let (now, later) = data.split_at(data.len().min(into.remaining()));
    into.put_slice(now);
    if !later.is_empty() {
        debug_assert!(kept.is_empty(), "a record comes alone");
        *kept = Bytes::copy_from_slice(later);
    }
}

fn of_fault(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

fn invalid(error: Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
