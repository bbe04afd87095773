//! Why the connection of a lean session ends: whether its server may end it so.

use panda_protocol::ErrorCode;
use panda_protocol::error_code::Recovery;

/// Why a connection ends that is no breach of the protocol: it was sent away, or refused for now.
#[derive(Debug)]
pub(super) struct Away(pub String);

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Away {}

/// A server ended something with a code: for now, or as it must never do to sessions that keep the protocol and that nobody
/// removed from their chats.
pub(super) fn ended(code: u16, why: String) -> anyhow::Error {
    match Recovery::of(code) {
        Recovery::Stop | Recovery::Fail => anyhow::Error::msg(why),
        _ => Away(why).into(),
    }
}

/// A code as people read it.
pub(super) fn named(code: u16) -> String {
    ErrorCode::from_u16(code).map_or_else(|| code.to_string(), |known| known.to_string())
}
