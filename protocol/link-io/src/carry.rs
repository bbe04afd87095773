//! Frames both ways until something ends the link.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::BytesMut;
use panda_protocol::DecodeError;
use panda_protocol::framing::{RawFrame, split_frame};
use panda_protocol::link::{ALIVE, ALIVE_EVERY_MS, Down, LINK_FRAME_BYTES_MAX, Opening, SILENCE_MAX_MS, Up};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::LinkEnd;

/// Bytes after which no more frames are added to what is written at once.
const WRITE_BYTES: usize = 64 * 1024;
/// Room that is made for a read; a larger frame makes its own.
const READ_BYTES: usize = 64 * 1024;

/// What an end sends: [`Up`] one at a time, [`Down`] in batches.
pub trait Outgoing: Send {
    /// Appends the whole frames.
    fn append_to(&self, out: &mut BytesMut);
}

impl Outgoing for Up {
    fn append_to(&self, out: &mut BytesMut) {
        out.extend_from_slice(&self.to_bytes());
    }
}

impl Outgoing for Vec<Down> {
    fn append_to(&self, out: &mut BytesMut) {
        for down in self {
            down.append_to(out);
        }
    }
}

/// What an end receives.
pub trait Incoming: Send + Sized {
    /// Decodes a frame's body.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none of this direction's.
    fn decode(raw: RawFrame) -> Result<Self, DecodeError>;
}

impl Incoming for Up {
    fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
        Self::decode(raw)
    }
}

impl Incoming for Down {
    fn decode(raw: RawFrame) -> Result<Self, DecodeError> {
        Self::decode(raw)
    }
}

/// Where what an end receives goes.
pub trait Taker<In>: Send {
    /// Takes frames, in order; waits while there is no room. Answers whether more are taken.
    fn take(&mut self, frames: Vec<In>) -> impl Future<Output = bool> + Send;
}

impl Taker<Up> for mpsc::Sender<Up> {
    async fn take(&mut self, frames: Vec<Up>) -> bool {
        for up in frames {
            if self.send(up).await.is_err() {
                return false;
            }
        }
        true
    }
}

impl Taker<Down> for mpsc::Sender<Vec<Down>> {
    async fn take(&mut self, frames: Vec<Down>) -> bool {
        self.send(frames).await.is_ok()
    }
}

/// One end of a link whose opening succeeded.
#[derive(Debug)]
pub struct OpenLink<S> {
    stream: S,
    read: BytesMut,
    router: u64,
}

impl<S: AsyncRead + AsyncWrite> OpenLink<S> {
    pub(crate) const fn new(stream: S, read: BytesMut, router: u64) -> Self {
        Self { stream, read, router }
    }

    /// Which router this is, as it said in its challenge.
    pub const fn router(&self) -> u64 {
        self.router
    }

    /// Sends what comes out of `outgoing` and hands what is received to `taker`, in order. While that
    /// waits, nothing is read: a slow taker slows the other side's writing down and costs no memory.
    ///
    /// Returns why the link ended: `Done` once `outgoing` is closed and written, or `taker` takes no more.
    pub async fn carry<Out: Outgoing, In: Incoming>(
        self,
        outgoing: &mut mpsc::Receiver<Out>,
        taker: &mut impl Taker<In>,
    ) -> LinkEnd {
        let (mut reader, mut writer) = tokio::io::split(self.stream);
        let ended = tokio::select! {
            end = receive(&mut reader, self.read, taker) => end,
            end = send(&mut writer, outgoing) => end,
        };
        // The other side may be gone already: what the end was is known.
        let _gone = timeout(Duration::from_millis(ALIVE_EVERY_MS), writer.shutdown()).await;
        ended.err().unwrap_or(LinkEnd::Done)
    }
}

async fn receive<In: Incoming>(
    stream: &mut (impl AsyncRead + Unpin),
    mut read: BytesMut,
    taker: &mut impl Taker<In>,
) -> Result<(), LinkEnd> {
    let silence = Duration::from_millis(SILENCE_MAX_MS);
    loop {
        let mut frames = Vec::new();
        while let Some(raw) = split_frame(&mut read, LINK_FRAME_BYTES_MAX)? {
            if raw.kind != ALIVE {
                frames.push(In::decode(raw)?);
            }
        }
        if !frames.is_empty() && !taker.take(frames).await {
            return Ok(());
        }
        read.reserve(READ_BYTES);
        if timeout(silence, stream.read_buf(&mut read)).await.map_err(|_| LinkEnd::Silent)?? == 0 {
            return Err(LinkEnd::Io(ErrorKind::UnexpectedEof.into()));
        }
    }
}

async fn send<Out: Outgoing>(
    stream: &mut (impl AsyncWrite + Unpin),
    outgoing: &mut mpsc::Receiver<Out>,
) -> Result<(), LinkEnd> {
    let every = Duration::from_millis(ALIVE_EVERY_MS);
    let alive = Opening::Alive.to_bytes();
    let mut out = BytesMut::with_capacity(WRITE_BYTES);
    loop {
        match timeout(every, outgoing.recv()).await {
            Ok(Some(first)) => {
                first.append_to(&mut out);
                while out.len() < WRITE_BYTES
                    && let Ok(next) = outgoing.try_recv()
                {
                    next.append_to(&mut out);
                }
            }
            Ok(None) => return Ok(()),
            Err(_) => out.extend_from_slice(&alive),
        }
        stream.write_all(&out).await?;
        stream.flush().await?;
        out.clear();
        if out.capacity() > 4 * WRITE_BYTES {
            out = BytesMut::with_capacity(WRITE_BYTES);
        }
    }
}
