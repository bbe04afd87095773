//! Puts frames together from whatever pieces arrive, with an allocation for each frame of just its size.

use bytes::Bytes;
use panda_protocol::codec::DecodeError;
use panda_protocol::framing::{RawFrame, peek_frame};

/// Bytes of the longest length before a frame.
const PREFIX_MAX: usize = 8;

/// The masking of a WebSocket payload (RFC 6455, section 5.3) and how far it is. QUIC has the
/// default: none.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mask {
    key: [u8; 4],
}

impl Mask {
    pub(super) const fn new(key: [u8; 4]) -> Self {
        Self { key }
    }

    /// Unmasks the next bytes of the payload.
    pub(super) fn apply(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(4) {
            for (byte, key) in piece.iter_mut().zip(self.key) {
                *byte ^= key;
            }
        }
        self.key.rotate_left(bytes.len() % 4);
    }
}

/// The frame that is arriving. Between frames it holds nothing.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    prefix: [u8; PREFIX_MAX],
    prefix_len: usize,
    /// Type and body of a frame whose length is known, and how many bytes they will be.
    content: Vec<u8>,
    content_len: usize,
}

impl Assembler {
    /// Takes what it needs off `input`, up to the end of the next frame.
    ///
    /// # Errors
    /// [`DecodeError`] as soon as the length of the frame is known and not allowed.
    pub(super) fn feed(
        &mut self,
        input: &mut &[u8],
        mask: &mut Mask,
        bytes_max: usize,
    ) -> Result<Option<RawFrame>, DecodeError> {
        while self.content_len == 0 {
            let Some((&byte, rest)) = input.split_first() else { return Ok(None) };
            *input = rest;
            self.prefix[self.prefix_len] = byte;
            mask.apply(&mut self.prefix[self.prefix_len..=self.prefix_len]);
            self.prefix_len += 1;
            // A length has at most 8 bytes, so the eighth always ends it.
            if let Some((_, len)) = peek_frame(&self.prefix[..self.prefix_len], bytes_max)? {
                self.content_len = len;
            }
        }
        let (piece, rest) = input.split_at(input.len().min(self.content_len - self.content.len()));
        *input = rest;
        self.grow(piece.len());
        let at = self.content.len();
        self.content.extend_from_slice(piece);
        mask.apply(&mut self.content[at..]);
        Ok(self.finished())
    }

    /// Makes room for `more` bytes: what is there doubles at most, so an announced length costs
    /// nothing, and a frame that is all there gets exactly its size.
    fn grow(&mut self, more: usize) {
        let needed = self.content.len() + more;
        if needed > self.content.capacity() {
            let capacity = needed.max(self.content.len() * 2).min(self.content_len);
            self.content.reserve_exact(capacity - self.content.len());
        }
    }

    fn finished(&mut self) -> Option<RawFrame> {
        if self.content.len() < self.content_len {
            return None;
        }
        let mut content = Bytes::from(std::mem::take(&mut self.content));
        *self = Self::default();
        let kind = content[0]; // a frame has a type, or its length would have been refused
        Some(RawFrame { kind, body: content.split_off(1) })
    }

    /// Whether nothing of a frame has come since the last one ended.
    pub(super) const fn is_between_frames(&self) -> bool {
        self.prefix_len == 0
    }

    /// Bytes of memory that it holds.
    pub(super) fn held(&self) -> usize {
        self.content.capacity()
    }
}

#[cfg(test)]
mod tests {
    use panda_protocol::framing::frame_bytes;

    use super::*;

    fn feed_all(assembler: &mut Assembler, mut input: &[u8], mask: &mut Mask) -> Vec<RawFrame> {
        let mut frames = Vec::new();
        while !input.is_empty() {
            frames.extend(assembler.feed(&mut input, mask, 65_536).unwrap());
        }
        frames
    }

    #[test]
    fn any_cut_gives_the_same_frames() {
        let mut bytes = Vec::new();
        for len in [0_usize, 1, 61, 62, 63, 64, 300, 20_000] {
            bytes.extend_from_slice(&frame_bytes(7, len, |out| out.raw(&vec![5; len])));
        }
        let whole = feed_all(&mut Assembler::default(), &bytes, &mut Mask::default());
        assert_eq!(whole.len(), 8);
        assert!(whole.iter().all(|frame| frame.kind == 7 && frame.body.iter().all(|byte| *byte == 5)));
        for size in [1, 2, 3, 7, 64, 1_000] {
            let mut masked = bytes.clone();
            Mask::new([1, 2, 3, 4]).apply(&mut masked);
            let (mut assembler, mut mask) = (Assembler::default(), Mask::new([1, 2, 3, 4]));
            let cut: Vec<_> =
                masked.chunks(size).flat_map(|piece| feed_all(&mut assembler, piece, &mut mask)).collect();
            assert_eq!(cut, whole, "pieces of {size}");
            assert!(assembler.is_between_frames());
            assert_eq!(assembler.held(), 0);
        }
    }

    #[test]
    fn an_announced_length_reserves_nothing() {
        let mut assembler = Assembler::default();
        let mut input: &[u8] = &[0x80, 0, 0xff, 0xff, 1, 2, 3];
        assert_eq!(assembler.feed(&mut input, &mut Mask::default(), 65_536), Ok(None));
        assert!(assembler.held() <= 6, "{}", assembler.held());
    }

    #[test]
    fn a_length_is_refused_as_soon_as_it_is_known() {
        for (bytes, error) in [
            (&[0x80, 1, 0, 1][..], DecodeError::TooLarge),
            (&[0xff; 8][..], DecodeError::TooLarge),
            (&[0][..], DecodeError::Invalid),
            (&[0x40, 1][..], DecodeError::NonMinimal),
        ] {
            let mut input = bytes;
            assert_eq!(Assembler::default().feed(&mut input, &mut Mask::default(), 65_536), Err(error));
        }
    }
}
