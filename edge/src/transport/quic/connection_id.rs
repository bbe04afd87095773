//! Connection IDs that any process of the fleet takes for its own.
//!
//! An endpoint answers a packet of an unknown connection with a stateless reset (RFC 9000, section 10.3)
//! only if the ID may be its own. So that a client of a process that was killed learns of it from the
//! next one's first answer, and not from a long silence, every ID of the right length passes.

use std::time::Duration;

use quinn_proto::{ConnectionId, ConnectionIdGenerator};

const ID_LEN: usize = 8;

/// Makes connection IDs at random.
pub(super) struct FleetConnectionIds;

impl ConnectionIdGenerator for FleetConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_LEN]>())
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
