//! What comes in on a connection: bytes, frames, and what the driver makes of them.

use std::io::{self, Read as _};

use anyhow::{Context as _, Result, bail, ensure};
use rustls::HandshakeKind;

use super::clock::now;
use super::connection::Stage;
use super::driver::{Driver, Outgoing};
use super::websocket::{self, CLOSE, DATA_MAX, PING};
use super::{Connection, Engine, Happened};

impl<D: Driver + ?Sized> Engine<D> {
    pub(super) fn read(&mut self, id: u32, connection: &mut Connection, happened: &mut Vec<Happened>) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let read = match connection.tls {
            Some(_) => self.read_tls(id, connection, &mut buffer, happened),
            None => self.read_plain(id, connection, &mut buffer, happened),
        };
        self.read_buffer = buffer;
        read
    }

    fn read_plain(
        &mut self,
        id: u32,
        connection: &mut Connection,
        buffer: &mut [u8],
        happened: &mut Vec<Happened>,
    ) -> Result<()> {
        self.reads += 1;
        match (&connection.socket).read(buffer) {
            Ok(0) => bail!("the server closed it"),
            Ok(count) => self.input(id, connection, &buffer[..count], happened),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("it broke"),
        }
    }

    fn read_tls(
        &mut self,
        id: u32,
        connection: &mut Connection,
        buffer: &mut [u8],
        happened: &mut Vec<Happened>,
    ) -> Result<()> {
        loop {
            let Some(tls) = connection.tls.as_mut() else { return Ok(()) };
            self.reads += 1;
            match tls.read_tls(&mut &connection.socket) {
                Ok(0) => bail!("the server closed it"),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("it broke"),
            }
            tls.process_new_packets().context("TLS")?;
            if connection.stage == Stage::Tls && !tls.is_handshaking() {
                if let Some(connector) = &self.tls {
                    connector.check(tls, connection.peer.number < self.first)?;
                }
                self.driver.secured(tls.handshake_kind() == Some(HandshakeKind::Resumed));
                self.transport_up(connection)?;
            }
            while let Some(tls) = connection.tls.as_mut() {
                match tls.reader().read(buffer) {
                    Ok(0) => bail!("the server closed it"),
                    Ok(count) => self.input(id, connection, &buffer[..count], happened)?,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("TLS"),
                }
            }
        }
    }

    fn input(&mut self, id: u32, connection: &mut Connection, read: &[u8], happened: &mut Vec<Happened>) -> Result<()> {
        let at = now();
        if connection.unparsed.is_empty() {
            let used = self.parse(connection, read)?;
            connection.unparsed.extend_from_slice(&read[used..]);
        } else {
            let mut bytes = std::mem::take(&mut connection.unparsed);
            bytes.extend_from_slice(read);
            let used = self.parse(connection, &bytes)?;
            bytes.drain(..used);
            // An idle connection keeps no room.
            connection.unparsed = if bytes.is_empty() { Vec::new() } else { bytes };
        }
        if std::mem::take(&mut self.events.ready) {
            happened.push(Happened::Ready { id });
        }
        connection.received += self.events.deliveries.len() as u64;
        happened.extend(self.events.deliveries.drain(..).map(|due| Happened::Delivery { id, due, at }));
        happened.extend((0..std::mem::take(&mut self.events.acks)).map(|_| Happened::Ack { id, at }));
        Ok(())
    }

    /// Parses what can be; returns how many bytes were used.
    fn parse(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        if connection.stage == Stage::Upgrading {
            let Some(head) = websocket::upgrade_answer(bytes)? else { return Ok(0) };
            used = head;
            connection.stage = Stage::Open;
            let mut out = Outgoing { bytes: &mut connection.out, opcode: self.opcode };
            self.driver.open(&mut connection.peer, &mut out)?;
        }
        let rest = &bytes[used..];
        Ok(used
            + match self.opcode {
                None => {
                    let mut out = Outgoing { bytes: &mut connection.out, opcode: None };
                    self.driver.receive(&mut connection.peer, rest, &mut out, &mut self.events)?
                }
                Some(_) if self.is_stream => self.parse_stream(connection, rest)?,
                Some(_) => self.parse_messages(connection, rest)?,
            })
    }

    /// Takes the framing off and hands over what was left before with what came.
    fn parse_stream(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize> {
        let mut stream = std::mem::take(&mut self.stream_buffer);
        stream.clear();
        stream.append(&mut connection.message);
        let mut used = 0;
        while let Some(frame) = websocket::next_frame(&bytes[used..])? {
            used += frame.length;
            if frame.opcode <= DATA_MAX {
                stream.extend_from_slice(frame.payload);
            } else {
                control(connection, frame.opcode, frame.payload)?;
            }
        }
        let mut out = Outgoing { bytes: &mut connection.out, opcode: self.opcode };
        let taken = self.driver.receive(&mut connection.peer, &stream, &mut out, &mut self.events)?;
        connection.message = stream[taken..].to_vec();
        self.stream_buffer = stream;
        Ok(used)
    }

    fn parse_messages(&mut self, connection: &mut Connection, bytes: &[u8]) -> Result<usize> {
        let mut used = 0;
        while let Some(frame) = websocket::next_frame(&bytes[used..])? {
            used += frame.length;
            if frame.opcode > DATA_MAX {
                control(connection, frame.opcode, frame.payload)?;
                continue;
            }
            if frame.last && connection.message.is_empty() {
                self.message(connection, frame.payload)?;
                continue;
            }
            connection.message.extend_from_slice(frame.payload);
            if frame.last {
                let message = std::mem::take(&mut connection.message);
                self.message(connection, &message)?;
            }
        }
        Ok(used)
    }

    fn message(&mut self, connection: &mut Connection, message: &[u8]) -> Result<()> {
        let mut out = Outgoing { bytes: &mut connection.out, opcode: self.opcode };
        let used = self.driver.receive(&mut connection.peer, message, &mut out, &mut self.events)?;
        ensure!(used == message.len(), "a message has {} bytes behind its end", message.len() - used);
        Ok(())
    }
}

fn control(connection: &mut Connection, opcode: u8, payload: &[u8]) -> Result<()> {
    match opcode {
        CLOSE => bail!("the server said goodbye: {}", String::from_utf8_lossy(payload)),
        PING => {
            websocket::write_header(&mut connection.out, websocket::PONG, payload.len());
            connection.out.extend_from_slice(payload);
        }
        _ => {}
    }
    Ok(())
}
