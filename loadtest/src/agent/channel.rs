//! Lines of JSON over a connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::engine::clock::now;

/// The longest line: a thousand seats with tokens of a KiB are well below. Whoever sends more is cut.
pub const LINE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// The longest line before both sides have proven who they are.
const OPENING_BYTES_MAX: usize = 1_024;
/// How long the other side may take to read what was sent to it.
const WRITE_MAX: Duration = Duration::from_secs(60);

/// A connection whose sides take lines in turn.
#[derive(Debug)]
pub struct Channel {
    stream: BufReader<TcpStream>,
}

impl Channel {
    /// Over a connection.
    ///
    /// # Errors
    /// What the kernel says of it.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_MAX))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The same connection for another thread, which then only writes or only reads.
    ///
    /// # Errors
    /// No file is left.
    pub fn another(&self) -> io::Result<Self> {
        Self::new(self.stream.get_ref().try_clone()?)
    }

    /// How long [`Self::receive`] waits; `None`: for ever.
    ///
    /// # Errors
    /// What the kernel says of it.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(patience)
    }

    /// Sends a value.
    ///
    /// # Errors
    /// The connection broke, or nobody reads.
    pub fn send(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)
    }

    /// The next value; `None` once the other side is gone in order.
    ///
    /// # Errors
    /// The connection broke, the line is too long, or it is no such value.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if line.last() != Some(&b'\n') {
            let why = format!("a line that was cut, or is longer than {LINE_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        serde_json::from_slice(&line).map(Some).map_err(Into::into)
    }

    /// The next value of somebody who has not proven who it is: a short line, and all of it by `until` on the machine's clock, in
    /// nanoseconds, however slowly its bytes come.
    ///
    /// # Errors
    /// As [`Self::receive`], and [`io::ErrorKind::TimedOut`].
    pub fn receive_opening<T: DeserializeOwned>(&mut self, until: u64) -> io::Result<Option<T>> {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            let left = Duration::from_nanos(until.saturating_sub(now()));
            if left.is_zero() {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the opening took too long"));
            }
            self.set_patience(Some(left))?;
            let came = self.stream.fill_buf()?;
            if came.is_empty() && line.is_empty() {
                return Ok(None);
            }
            let end = came.iter().position(|&byte| byte == b'\n').map_or(came.len(), |place| place + 1);
            line.extend_from_slice(&came[..end]);
            self.stream.consume(end);
            if end == 0 || line.len() > OPENING_BYTES_MAX {
                let why = format!("an opening that was cut, or is longer than {OPENING_BYTES_MAX} bytes");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
        serde_json::from_slice(&line).map(Some).map_err(Into::into)
    }

    /// Ends both directions; whoever reads is told.
    pub fn end(&self) {
        // One that is gone already needs no end.
        drop(self.stream.get_ref().shutdown(std::net::Shutdown::Both));
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::engine::clock::SECOND;

    fn pair() -> (Channel, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Channel::new(listener.accept().unwrap().0).unwrap(), one)
    }

    #[test]
    fn values_come_as_they_were_sent_and_then_the_end() {
        let (mut channel, other) = pair();
        let mut other = Channel::new(other).unwrap();
        other.send(&vec![1, 2]).unwrap();
        other.send(&vec![3]).unwrap();
        other.end();
        assert_eq!(channel.receive::<Vec<u8>>().unwrap(), Some(vec![1, 2]));
        assert_eq!(channel.receive::<Vec<u8>>().unwrap(), Some(vec![3]));
        assert_eq!(channel.receive::<Vec<u8>>().unwrap(), None);
    }

    #[test]
    fn an_opening_is_short_and_has_a_deadline_for_all_of_it() {
        let (mut channel, mut other) = pair();
        let soon = || now() + 60 * SECOND;
        other.write_all(b"[1]\n[2]\n").unwrap();
        assert_eq!(channel.receive_opening::<Vec<u8>>(soon()).unwrap(), Some(vec![1]));
        assert_eq!(channel.receive::<Vec<u8>>().unwrap(), Some(vec![2]), "what came behind it is not lost");
        other.write_all(&[b' '; OPENING_BYTES_MAX + 1]).unwrap();
        let error = channel.receive_opening::<Vec<u8>>(soon()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let (mut channel, mut other) = pair();
        other.write_all(b" ").unwrap();
        let kind = channel.receive_opening::<Vec<u8>>(now() + SECOND / 20).unwrap_err().kind();
        assert!(matches!(kind, io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock), "{kind:?}");
        // Bytes that come do not move the deadline.
        other.write_all(b"[1]\n").unwrap();
        assert_eq!(channel.receive_opening::<Vec<u8>>(now()).unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_or_is_none_is_an_error() {
        let long = vec![b' '; usize::try_from(LINE_BYTES_MAX).unwrap() + 1];
        for bytes in [&b"[1"[..], b"{}\n", &long] {
            let (mut channel, mut other) = pair();
            let bytes = bytes.to_vec();
            let writing = std::thread::spawn(move || {
                // The reader stops at its limit; what it leaves is not written.
                drop(other.write_all(&bytes));
            });
            assert!(channel.receive::<Vec<u8>>().is_err());
            drop(channel);
            writing.join().unwrap();
        }
    }
}
