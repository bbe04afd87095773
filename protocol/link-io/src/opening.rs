//! The opening: a challenge, a proof each way.

use std::time::Duration;

use bytes::BytesMut;
use panda_protocol::ErrorCode;
use panda_protocol::framing::split_frame;
use panda_protocol::link::{
    Challenge, LINK_VERSION, LinkId, LinkKey, OPENING_TIMEOUT_MS, Open, Opened, Opening, Refused,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::{LinkEnd, OpenLink};

/// Bytes of a frame of the opening; a Refused with its text is the longest.
const OPENING_BYTES_MAX: usize = 512;

/// Opens an edge's end of `link`. Not cancel safe: the stream is of no more use.
///
/// # Errors
/// Any [`LinkEnd`] but `Silent` and `Done`.
pub async fn open<S>(stream: S, key: &LinkKey, link: LinkId) -> Result<OpenLink<S>, LinkEnd>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(async {
        let mut opening = Stream::new(stream);
        let challenge = match opening.receive().await? {
            Opening::Challenge(challenge) => challenge,
            // It has no room, and spends no challenge on saying so.
            Opening::Refused(refused) => return Err(refused.into()),
            _ => return Err(LinkEnd::Stranger),
        };
        if challenge.version_min > LINK_VERSION || challenge.version_max < LINK_VERSION {
            return Err(LinkEnd::Version { min: challenge.version_min, max: challenge.version_max });
        }
        let nonce = rand::random();
        let proof = key.edge_proof(&challenge, LINK_VERSION, link, &nonce);
        let open = Open { version: LINK_VERSION, link, nonce, proof };
        opening.send(&Opening::Open(open)).await?;
        match opening.receive().await? {
            Opening::Opened(opened) if key.takes_router(&challenge, &open, &opened) => {
                Ok(opening.into_link(challenge.router))
            }
            Opening::Refused(refused) => Err(refused.into()),
            _ => Err(LinkEnd::Stranger),
        }
    })
    .await
}

/// Opens a router's end; an edge may know any of `keys`, the current one first. Who does not is told so
/// and closed. Not cancel safe: the stream is of no more use.
///
/// # Errors
/// Any [`LinkEnd`] but `Refused`, `Silent` and `Done`.
pub async fn accept<S>(stream: S, keys: &[LinkKey], router: u64) -> Result<(LinkId, OpenLink<S>), LinkEnd>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    in_time(async {
        let mut opening = Stream::new(stream);
        let nonce = rand::random();
        let challenge = Challenge { version_min: LINK_VERSION, version_max: LINK_VERSION, router, nonce };
        opening.send(&Opening::Challenge(challenge)).await?;
        let Opening::Open(open) = opening.receive().await? else {
            return opening.refuse(ErrorCode::UnexpectedFrame, LinkEnd::Stranger).await;
        };
        if open.version != LINK_VERSION {
            let end = LinkEnd::Version { min: open.version, max: open.version };
            return opening.refuse(ErrorCode::VersionUnsupported, end).await;
        }
        let Some(key) = keys.iter().find(|key| key.takes_edge(&challenge, &open)) else {
            return opening.refuse(ErrorCode::Unauthenticated, LinkEnd::Stranger).await;
        };
        let proof = key.router_proof(&challenge, &open);
        opening.send(&Opening::Opened(Opened { proof })).await?;
        Ok((open.link, opening.into_link(router)))
    })
    .await
}

impl From<Refused> for LinkEnd {
    fn from(Refused { code, text }: Refused) -> Self {
        Self::Refused { code, text: text.as_str().to_owned() }
    }
}

async fn in_time<T>(opening: impl Future<Output = Result<T, LinkEnd>>) -> Result<T, LinkEnd> {
    timeout(Duration::from_millis(OPENING_TIMEOUT_MS), opening).await.unwrap_or(Err(LinkEnd::Slow))
}

struct Stream<S> {
    stream: S,
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    fn new(stream: S) -> Self {
        Self { stream, read: BytesMut::with_capacity(OPENING_BYTES_MAX) }
    }

    async fn send(&mut self, frame: &Opening) -> Result<(), LinkEnd> {
        self.stream.write_all(&frame.to_bytes()).await?;
        self.stream.flush().await?;
        Ok(())
    }

    async fn receive(&mut self) -> Result<Opening, LinkEnd> {
        loop {
            if let Some(raw) = split_frame(&mut self.read, OPENING_BYTES_MAX)? {
                return Ok(Opening::decode(raw)?);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(LinkEnd::Io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    async fn refuse<T>(mut self, code: ErrorCode, end: LinkEnd) -> Result<T, LinkEnd> {
        let refused = Refused { code: code as u16, text: code.text().into() };
        self.send(&Opening::Refused(refused)).await?;
        self.stream.shutdown().await?;
        Err(end)
    }

    /// What was read beyond the opening is the first of the frames.
    fn into_link(self, router: u64) -> OpenLink<S> {
        OpenLink::new(self.stream, self.read, router)
    }
}
