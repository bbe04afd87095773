//! Takes WebSocket frames apart as their bytes arrive, and puts together what they carry: Panda's frames.
//!
//! A message may be of any length, because no more of it is held than the one Panda frame that is
//! arriving: limits are Panda's own, frame by frame.

use bytes::Bytes;
use panda_protocol::codec::DecodeError;
use panda_protocol::framing::RawFrame;

use crate::transport::TransportError;
use crate::transport::assembler::{Assembler, Mask};

/// The longest header of a frame from a client: two bytes, the long length, the mask.
const HEADER_MAX: usize = 14;
/// The longest payload of a control frame.
const CONTROL_MAX: u64 = 125;

pub(super) const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xa;

/// What the payload of messages is put together to: Panda's frames, wherever clients are served.
pub(super) trait Payload: Default {
    /// What comes of it.
    type Whole;

    /// A message of this opcode begins.
    ///
    /// # Errors
    /// [`TransportError`] for a kind of message that is not taken.
    fn begin(&mut self, opcode: u8) -> Result<(), TransportError>;

    /// Takes what it needs off `input`, which is masked: up to the end of the next whole, or all.
    ///
    /// # Errors
    /// [`TransportError`] for what is no such payload.
    fn feed(
        &mut self,
        input: &mut &[u8],
        mask: &mut Mask,
        bytes_max: usize,
    ) -> Result<Option<Self::Whole>, TransportError>;

    /// The message ends; nothing came in one that is empty.
    ///
    /// # Errors
    /// [`TransportError`] for a message that may not end here.
    fn end(&mut self, is_empty: bool) -> Result<Option<Self::Whole>, TransportError>;

    /// Bytes of memory that it holds.
    fn held(&self) -> usize;
}

impl Payload for Assembler {
    type Whole = RawFrame;

    fn begin(&mut self, opcode: u8) -> Result<(), TransportError> {
        if opcode == TEXT { Err(TransportError::Text) } else { Ok(()) }
    }

    fn feed(
        &mut self,
        input: &mut &[u8],
        mask: &mut Mask,
        bytes_max: usize,
    ) -> Result<Option<RawFrame>, TransportError> {
        Ok(Self::feed(self, input, mask, bytes_max)?)
    }

    fn end(&mut self, is_empty: bool) -> Result<Option<RawFrame>, TransportError> {
        if is_empty {
            return Err(TransportError::Protocol("a WebSocket message holds no frame"));
        }
        if !self.is_between_frames() {
            // A frame is not split over two messages.
            return Err(DecodeError::Truncated.into());
        }
        Ok(None)
    }

    fn held(&self) -> usize {
        Self::held(self)
    }
}

/// What came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input<W = RawFrame> {
    /// One whole of the payload.
    Whole(W),
    /// A control frame of this opcode, whole.
    Control(u8, Bytes),
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    /// In the header of a frame.
    #[default]
    Header,
    /// In the payload of a data frame; whether the message ends with it.
    Data { last: bool },
    /// In the payload of a control frame.
    Control(u8),
}

/// Where in the stream of the peer the connection is.
#[derive(Debug, Default)]
pub(super) struct Decoder<P = Assembler> {
    header: [u8; HEADER_MAX],
    header_len: usize,
    state: State,
    payload_left: u64,
    mask: Mask,
    in_message: bool,
    /// The message that is arriving has brought something.
    message_has_bytes: bool,
    control: Vec<u8>,
    payload: P,
}

impl<P: Payload> Decoder<P> {
    /// The next thing in `input`, and takes what it used off it. `None`: all of it was used.
    ///
    /// # Errors
    /// [`TransportError`] at the first byte that shows it; then the connection is of no more use.
    pub(super) fn next(
        &mut self,
        input: &mut &[u8],
        bytes_max: usize,
    ) -> Result<Option<Input<P::Whole>>, TransportError> {
        loop {
            match self.state {
                State::Header => {
                    let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
                    *input = rest;
                    self.header[self.header_len] = byte;
                    self.header_len += 1;
                    if let Some(whole) = self.read_header()? {
                        return Ok(Some(Input::Whole(whole)));
                    }
                }
                State::Control(opcode) => {
                    let piece = self.take_payload(input);
                    let at = self.control.len();
                    self.control.extend_from_slice(piece);
                    self.mask.apply(&mut self.control[at..]);
                    if self.payload_left > 0 {
                        return Ok(None);
                    }
                    self.state = State::Header;
                    return Ok(Some(Input::Control(opcode, std::mem::take(&mut self.control).into())));
                }
                State::Data { last } => {
                    let mut piece = self.peek_payload(input);
                    let before = piece.len();
                    let whole = self.payload.feed(&mut piece, &mut self.mask, bytes_max)?;
                    let used = before - piece.len();
                    *input = &input[used..];
                    self.payload_left -= used as u64;
                    self.message_has_bytes = true;
                    let ended = if self.payload_left == 0 { self.end_fragment(last)? } else { None };
                    match whole.or(ended) {
                        Some(whole) => return Ok(Some(Input::Whole(whole))),
                        None if input.is_empty() => return Ok(None),
                        None => {}
                    }
                }
            }
        }
    }

    /// Whether nothing has come since the end of a message, so that a new one would do as well.
    pub(super) const fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Header) && self.header_len == 0 && !self.in_message
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.control.capacity() + self.payload.held()
    }

    fn peek_payload<'i>(&self, input: &'i [u8]) -> &'i [u8] {
        let len = usize::try_from(self.payload_left).map_or(input.len(), |left| left.min(input.len()));
        &input[..len]
    }

    fn take_payload<'i>(&mut self, input: &mut &'i [u8]) -> &'i [u8] {
        let piece = self.peek_payload(input);
        *input = &input[piece.len()..];
        self.payload_left -= piece.len() as u64;
        piece
    }

    fn end_fragment(&mut self, last: bool) -> Result<Option<P::Whole>, TransportError> {
        self.state = State::Header;
        self.in_message = !last;
        if !last {
            return Ok(None);
        }
        let is_empty = !std::mem::take(&mut self.message_has_bytes);
        self.payload.end(is_empty)
    }

    /// Looks at the header so far: what is wrong is refused at its byte, and the last byte ends it.
    fn read_header(&mut self) -> Result<Option<P::Whole>, TransportError> {
        let header = &self.header[..self.header_len];
        if self.header_len == 1 {
            check_opcode(header[0], self.in_message)?;
            return match header[0] & 0xf {
                opcode @ (TEXT | BINARY) => self.payload.begin(opcode).map(|()| None),
                _ => Ok(None),
            };
        }
        let (first, second) = (header[0], header[1]);
        if second & 0x80 == 0 {
            return Err(TransportError::Protocol("a client masks its WebSocket frames"));
        }
        let short = u64::from(second & 0x7f);
        let is_control = first & 0x8 != 0;
        if is_control && short > CONTROL_MAX {
            return Err(TransportError::Protocol("a WebSocket control frame is too long"));
        }
        let long = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if header.len() < 2 + long + 4 {
            return Ok(None);
        }
        let (length, mask) = header[2..].split_at(long);
        let announced = length.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        let allowed = match long {
            2 => 126..=0xffff,
            8 => 0x1_0000..=u64::MAX >> 1,
            _ => 0..=0,
        };
        if !allowed.contains(&announced) {
            return Err(TransportError::Protocol("a WebSocket length is not in its shortest form"));
        }
        let mut key = [0; 4];
        key.copy_from_slice(mask);
        self.mask = Mask::new(key);
        self.payload_left = if long > 0 { announced } else { short };
        self.header_len = 0;
        let last = first & 0x80 != 0;
        match first & 0xf {
            opcode if is_control => self.state = State::Control(opcode),
            _ if self.payload_left == 0 => return self.end_fragment(last),
            _ => self.state = State::Data { last },
        }
        Ok(None)
    }
}

/// What the first byte of a frame may be.
fn check_opcode(first: u8, in_message: bool) -> Result<(), TransportError> {
    if first & 0x70 != 0 {
        return Err(TransportError::Protocol("a reserved bit of a WebSocket frame is set"));
    }
    let last = first & 0x80 != 0;
    match first & 0xf {
        0x0 if in_message => Ok(()),
        0x0 => Err(TransportError::Protocol("a WebSocket message begins with its second fragment")),
        TEXT | BINARY if in_message => {
            Err(TransportError::Protocol("a WebSocket message begins before the last one ended"))
        }
        TEXT | BINARY => Ok(()),
        CLOSE | PING | PONG if last => Ok(()),
        CLOSE | PING | PONG => Err(TransportError::Protocol("a WebSocket control frame is fragmented")),
        _ => Err(TransportError::Protocol("a WebSocket opcode is unknown")),
    }
}
