//! A link between machines, over any stream: its opening, its heartbeat and its frames.
//!
//! Both ends are here, so that one test holds them together: [`open`] is the edge's, [`accept`] the
//! router's. Where the network is shared, [`tls`] is between them and the connection. What comes out of either is
//! an [`OpenLink`] that carries frames until something ends it.
//! `LINK.md` is the law.
#![warn(missing_docs)]

mod carry;
mod down_queue;
mod opening;
pub mod tls;

pub use carry::{Incoming, OpenLink, Outgoing, Taker};
pub use down_queue::{DownQueue, WAITING_BYTES_MAX, WAITING_EVENTS_MAX, WAITING_FRAMES_MAX, WAITING_READ_BYTES_MAX};
pub use opening::{accept, open};
use panda_protocol::DecodeError;

/// Why a link did not open, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkEnd {
    /// The connection failed or was closed by the other side.
    #[error("the connection failed: {0}")]
    Io(std::io::Error),
    /// The two sides do not come together by TLS.
    #[error(
        "TLS: {0}; both ends need certificates that the other's `links.authorities` signed, the router's for the host \
         that it advertises, or neither"
    )]
    Tls(rustls::Error),
    /// The other side sent bytes that are no frame of a link.
    #[error("the other side sent what is no frame: {0}")]
    Malformed(#[from] DecodeError),
    /// The two sides have no version in common.
    #[error("the other side speaks versions {min} to {max} of the link protocol; update the older side")]
    Version {
        /// The other side's lowest.
        min: u8,
        /// Its highest.
        max: u8,
    },
    /// The other side does not know the deployment's link key.
    #[error("the other side has another fleet secret")]
    Stranger,
    /// The router refused.
    #[error("the router refused the link: {text} ({code})")]
    Refused {
        /// One of the protocol's error codes, or a newer one.
        code: u16,
        /// For a person.
        text: String,
    },
    /// The opening took too long.
    #[error("the link did not open in time")]
    Slow,
    /// Nothing was heard for longer than the heartbeat allows.
    #[error("nothing was heard for too long")]
    Silent,
    /// This side has nothing more to send, or takes nothing more.
    #[error("this side has closed the link")]
    Done,
}

impl From<std::io::Error> for LinkEnd {
    fn from(error: std::io::Error) -> Self {
        match error.downcast::<rustls::Error>() {
            Ok(tls) => Self::Tls(tls),
            Err(error) => Self::Io(error),
        }
    }
}
