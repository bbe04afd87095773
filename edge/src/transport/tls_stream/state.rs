//! A TLS connection without its socket: what came is opened, what leaves is sealed.

use std::io;

use bytes::Bytes;
use rustls::Error;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, InsufficientSizeError, WriteTraffic};
use tokio::io::ReadBuf;

use super::INCOMING_BYTES_MAX;
use super::records::{Content, Fault, HEADER_BYTES, KEY_UPDATE_BYTES, Records};

/// Records in a row of which a handshake message may be put together. Nobody sends a ClientHello in more, and each is
/// looked at again with the next one; rustls counts none of those that it cannot decrypt behind a client's early data.
const HELD_RECORDS_MAX: u8 = 32;
/// A close_notify, encrypted, and a change of keys before it.
const GOODBYE_BYTES_MAX: usize = 256;

/// Everything but the socket.
pub(super) struct Tls {
    pub(super) session: Session,
    /// Read from the socket and not decrypted: at most [`INCOMING_BYTES_MAX`], and one read more while `unread`. What
    /// was decrypted of a handshake message that is not whole stays here, too: [`Driven::seen`] says how much it is.
    pub(super) incoming: Vec<u8>,
    /// There may be whole records in `incoming`: behind the one that `plain` is of, or behind the handshake.
    pub(super) unread: bool,
    /// Decrypted, and found no room where it was wanted: the rest of one record.
    pub(super) plain: Bytes,
    /// Not taken by the socket yet: at most a record, and what the protocol itself has to say.
    pub(super) outgoing: Bytes,
    /// The peer said that nothing more comes.
    pub(super) ended: bool,
    /// So did we, or the socket takes nothing any more.
    pub(super) closed: bool,
    /// Something failed, most often because the peer broke the protocol: nothing more is read or encrypted.
    pub(super) broken: bool,
}

/// Who opens and seals.
#[expect(clippy::large_enum_variant, reason = "all but a few of those that live long are the large one")]
pub(super) enum Session {
    /// In the handshake, and after one of TLS 1.2, which few ask for.
    Rustls(Box<Driven>),
    /// After a handshake of TLS 1.3.
    Records(Records),
}

/// What became of the first record of what came.
enum Step {
    Done,
    NotWhole,
    /// It says that nothing more comes.
    Ended,
}

impl Tls {
    /// `take_over`: whether `connection` lets its secrets be extracted, and is to give way to [`Records`].
    pub(super) fn new(connection: UnbufferedServerConnection, take_over: bool) -> Self {
        Self {
            session: Session::Rustls(Box::new(Driven { connection, take_over, seen: 0, held: 0 })),
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
            Session::Rustls(driven) => Records::can_take_over(&driven.connection),
            Session::Records(_) => true,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        match &self.session {
            Session::Rustls(driven) => driven.connection.is_handshaking(),
            Session::Records(_) => false,
        }
    }

    /// After the handshake: the same connection with as little as can be.
    ///
    /// # Errors
    /// What rustls says, and `InvalidData` if it holds something that would be lost with it.
    pub(super) fn settled(mut self) -> io::Result<Self> {
        let session = match self.session {
            Session::Rustls(mut driven) if driven.is_done() => {
                if driven.seen != 0 {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                // What it still has to say is said by it: its ticket.
                driven.write(&mut self.incoming, &mut self.outgoing, |_| Ok(()))?;
                Session::Records(Records::take_over(driven.connection).map_err(io::Error::other)?)
            }
            other => other,
        };
        Ok(Self { session, ..self })
    }

    /// Decrypts `incoming` into `into`, and keeps what is not whole or finds no room.
    ///
    /// # Errors
    /// Nothing more is taken after one. If something came into `into`, it is the next call that fails.
    pub(super) fn take(&mut self, incoming: &mut [u8], into: &mut ReadBuf<'_>) -> io::Result<()> {
        let before = into.filled().len();
        let waiting = self.closed.then(|| self.outgoing.clone());
        let taken = self.take_whole(incoming, into);
        let taken = self.or_broken(taken);
        if let Some(waiting) = waiting {
            // Nothing follows our goodbye, no alert, either.
            self.outgoing = waiting;
        }
        if into.filled().len() > before { Ok(()) } else { taken }
    }

    fn take_whole(&mut self, incoming: &mut [u8], into: &mut ReadBuf<'_>) -> io::Result<()> {
        if self.broken {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut used = 0;
        self.unread = true;
        // A record that did not find room is the last that is looked at, and so is one that ends a handshake: what is
        // behind it is not for rustls, whose answer to it would be lost.
        while self.unread && self.plain.is_empty() && !self.ended && !self.is_to_be_taken_over() {
            let rest = &mut incoming[used..];
            let (len, step) = match &mut self.session {
                Session::Rustls(driven) => driven.take_record(rest, &mut self.plain, &mut self.outgoing, into)?,
                Session::Records(_) => self.open_record(rest, into)?,
            };
            used += len;
            match step {
                Step::Done => {}
                Step::NotWhole => self.unread = false,
                Step::Ended => self.ended = true,
            }
        }
        // Without whole records in it, what is left is the beginning of one message.
        if !self.unread && incoming.len() - used > INCOMING_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.incoming = if self.ended { Vec::new() } else { incoming[used..].to_vec() };
        Ok(())
    }

    fn is_to_be_taken_over(&self) -> bool {
        matches!(&self.session, Session::Rustls(driven) if driven.is_done())
    }

    /// After a failure nobody knows what rustls holds of `incoming`, or which key is whose: it is not asked again.
    fn or_broken<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if result.is_err() {
            self.broken = true;
            self.unread = false;
            self.incoming = Vec::new();
        }
        result
    }

    /// Opens one record. Returns how much of `incoming` it was.
    fn open_record(&mut self, incoming: &mut [u8], into: &mut ReadBuf<'_>) -> io::Result<(usize, Step)> {
        let Session::Records(records) = &mut self.session else { return Ok((0, Step::NotWhole)) };
        match records.open(incoming) {
            Ok(Some((content, len))) => {
                let step = match content {
                    Content::Data(data) => {
                        give(&mut self.plain, data, into);
                        Step::Done
                    }
                    Content::Nothing => Step::Done,
                    Content::Goodbye => Step::Ended,
                };
                Ok((len, step))
            }
            Ok(None) => Ok((0, Step::NotWhole)),
            Err(fault) => {
                let mut alert = [0; GOODBYE_BYTES_MAX];
                let len = records.seal_fault(fault, &mut alert).map_err(of_fault)?;
                self.queue(&alert[..len]);
                Err(of_fault(fault))
            }
        }
    }

    /// Encrypts at most 16 KiB as one record; returns its length. What the protocol itself has to say goes before it.
    ///
    /// # Errors
    /// `NotConnected` after a failure, `BrokenPipe` after a goodbye or one of the socket, and what fails now.
    pub(super) fn seal(&mut self, data: &[u8], record: &mut [u8]) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if self.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let sealed = match &mut self.session {
            Session::Rustls(driven) => driven.write(&mut self.incoming, &mut self.outgoing, |traffic| {
                traffic.encrypt(data, record).map_err(io::Error::other)
            }),
            Session::Records(records) => {
                let mut change = [0; KEY_UPDATE_BYTES];
                let sealed = records
                    .change_keys(&mut change)
                    .and_then(|changed| Ok((changed, records.seal_data(data, record)?)))
                    .map_err(of_fault);
                sealed.map(|(changed, len)| {
                    self.queue(&change[..changed]);
                    len
                })
            }
        };
        self.or_broken(sealed)
    }

    /// Queues that we send nothing more; after a failure nothing is said.
    pub(super) fn say_goodbye(&mut self) -> io::Result<()> {
        self.closed = true;
        if self.broken {
            return Ok(());
        }
        let mut goodbye = [0; GOODBYE_BYTES_MAX];
        let sealed = match &mut self.session {
            Session::Rustls(driven) => driven.write(&mut self.incoming, &mut self.outgoing, |traffic| {
                traffic.queue_close_notify(&mut goodbye).map_err(io::Error::other)
            }),
            Session::Records(records) => records.seal_goodbye(&mut goodbye).map_err(of_fault),
        };
        let len = self.or_broken(sealed)?;
        self.queue(&goodbye[..len]);
        Ok(())
    }

    /// The socket failed to take something: of what was sealed a part is lost, so nothing can follow it.
    pub(super) fn cut(&mut self, error: io::Error) -> io::Error {
        self.closed = true;
        self.outgoing = Bytes::new();
        error
    }

    /// Puts bytes behind what waits for the socket.
    pub(super) fn queue(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.outgoing = [&self.outgoing[..], bytes].concat().into();
        }
    }
}

/// A connection of rustls, which is given one record at a time. By itself it would go on as far as it can: past the end
/// of a handshake, where others are to go on.
pub(super) struct Driven {
    connection: UnbufferedServerConnection,
    take_over: bool,
    /// Bytes at the front of `incoming` that rustls saw and holds places in: of a handshake message that is not whole.
    /// They are to be shown to it again, whatever is wanted of it: it panics where there are less.
    seen: usize,
    /// How many records that is.
    held: u8,
}

impl Driven {
    /// Whether [`Records`] are to go on.
    fn is_done(&self) -> bool {
        self.take_over && Records::can_take_over(&self.connection)
    }

    /// Lets rustls take the first record that it did not see, and say what it has to say. Returns how much of `incoming`
    /// is done with.
    fn take_record(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Bytes,
        outgoing: &mut Bytes,
        into: &mut ReadBuf<'_>,
    ) -> io::Result<(usize, Step)> {
        let whole = incoming.get(self.seen..).and_then(record_bytes);
        // It takes nothing of what is not whole, but it looks at the header.
        let seen = self.seen + whole.unwrap_or(0);
        let end = whole.map_or(incoming.len(), |_| seen);
        let mut used = 0;
        let step = loop {
            let shown = incoming.get_mut(used..end).ok_or(io::ErrorKind::InvalidData)?;
            let status = self.connection.process_tls_records(shown);
            used += status.discard;
            match status.state {
                Ok(ConnectionState::EncodeTlsData(mut data)) => encode(&mut data, outgoing)?,
                // It is queued, which is all that is to be known here.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    all_used(used, end)?;
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        used += record.discard;
                        give(plain, record.payload, into);
                    }
                    break Step::Done;
                }
                Ok(ConnectionState::PeerClosed) => {
                    all_used(used, end)?;
                    break Step::Ended;
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_) | ConnectionState::Closed) => {
                    break Step::Done;
                }
                // Early data is never announced.
                Ok(_) => return Err(io::ErrorKind::InvalidData.into()),
                Err(error) => {
                    // What is queued, an alert that says so behind the rest, is popped before anything is looked at. Asked
                    // once more, rustls would look at the record again.
                    while self.connection.wants_write() {
                        let shown = incoming.get_mut(used..end).ok_or(io::ErrorKind::InvalidData)?;
                        let queued = self.connection.process_tls_records(shown).state;
                        let Ok(ConnectionState::EncodeTlsData(mut data)) = queued else { break };
                        encode(&mut data, outgoing)?;
                    }
                    return Err(invalid(error));
                }
            }
        };
        self.seen = seen.checked_sub(used).ok_or(io::ErrorKind::InvalidData)?;
        match (self.seen, whole) {
            (0, _) => self.held = 0,
            (_, Some(_)) if self.held == HELD_RECORDS_MAX => return Err(io::ErrorKind::InvalidData.into()),
            (_, Some(_)) => self.held += 1,
            (_, None) => {}
        }
        Ok((used, if whole.is_none() { Step::NotWhole } else { step }))
    }

    /// Lets rustls encrypt something, behind what the protocol itself has to say. Whole records that it did not see wait
    /// for a reader.
    fn write<T>(
        &mut self,
        incoming: &mut [u8],
        outgoing: &mut Bytes,
        write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> io::Result<T>,
    ) -> io::Result<T> {
        let shown = incoming.get_mut(..self.seen).ok_or(io::ErrorKind::InvalidData)?;
        loop {
            let status = self.connection.process_tls_records(shown);
            if status.discard != 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            match status.state.map_err(invalid)? {
                ConnectionState::WriteTraffic(mut traffic) => return write(&mut traffic),
                ConnectionState::EncodeTlsData(mut data) => encode(&mut data, outgoing)?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => {}
                _ => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }
}

/// How long the first record of `bytes` is, if all of it is there.
fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let len = HEADER_BYTES + usize::from(u16::from_be_bytes([*bytes.get(3)?, *bytes.get(4)?]));
    (len <= bytes.len()).then_some(len)
}

/// Data and goodbyes come with nothing of a handshake message before them. rustls refuses the beginning of one there, but
/// not an empty record, which is as little allowed (RFC 8446, section 5.1), and loses count of it.
fn all_used(used: usize, shown: usize) -> io::Result<()> {
    if used == shown { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
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
