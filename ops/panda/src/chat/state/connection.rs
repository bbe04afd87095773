//! What is known of the connection, in words for a person.

use std::collections::BTreeMap;
use std::time::Duration;

use panda_client::{Reason, TransportKind};
use panda_protocol::{EntityId, ErrorCode, Seq};

use crate::chat::request::code_words;

/// Where the client is with its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Phase {
    /// Nothing happened yet.
    Starting,
    Connecting {
        attempt: u32,
    },
    Connected,
    /// The next attempt begins at this moment.
    Waiting {
        until: Duration,
    },
    /// It waits for a new token.
    LoggedOut,
    /// For good, and why.
    Ended(String),
}

/// The connection, honestly.
#[derive(Clone, Debug)]
pub(in crate::chat) struct Connection {
    transport: TransportKind,
    pub(in crate::chat) phase: Phase,
    /// Why there is no connection, while there is none and as far as it is known.
    reason: Option<String>,
    /// There was one.
    has_lived: bool,
    /// Chats whose events wait, and up to where.
    lagging: BTreeMap<EntityId, Seq>,
}

impl Connection {
    pub(super) const fn new(transport: TransportKind) -> Self {
        Self { transport, phase: Phase::Starting, reason: None, has_lived: false, lagging: BTreeMap::new() }
    }

    /// The way: QUIC or WebSocket.
    pub(in crate::chat) const fn transport(&self) -> &'static str {
        match self.transport {
            TransportKind::Quic => "QUIC",
            TransportKind::WebSocket => "WebSocket",
        }
    }

    /// There is no connection, and why, as far as it is known.
    pub(super) fn lost(&mut self, reason: Option<Reason>, code: Option<u16>) {
        self.reason = match reason {
            // Many networks let no UDP through.
            Some(Reason { is_certificate: false, text })
                if self.transport == TransportKind::Quic && !self.has_lived =>
            {
                Some(format!("{text}; --ws takes WebSocket"))
            }
            Some(reason) => Some(reason.text.to_string()),
            // Its own text tells a program to come back, which is being done.
            None if code == Some(ErrorCode::Going as u16) => {
                Some("the server is going down, or moves this session".to_owned())
            }
            None => code.map(code_words),
        };
    }

    /// Whether there is one.
    pub(in crate::chat) fn is_up(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether there was one at any time.
    pub(in crate::chat) const fn has_lived(&self) -> bool {
        self.has_lived
    }

    /// Why there is none, as far as it is known.
    pub(in crate::chat) fn reason(&self) -> &str {
        self.reason.as_deref().unwrap_or("nobody answers")
    }

    /// The way of the next attempt. Returns whether it is another one.
    pub(super) fn takes(&mut self, transport: TransportKind) -> bool {
        std::mem::replace(&mut self.transport, transport) != transport
    }

    /// Whether all is as it should be.
    pub(in crate::chat) fn is_well(&self) -> bool {
        self.phase == Phase::Connected && self.lagging.is_empty()
    }

    /// The state in a few words.
    pub(in crate::chat) fn words(&self, now: Duration) -> String {
        match &self.phase {
            Phase::Starting | Phase::Connecting { attempt: 0 | 1 } => "connecting…".to_owned(),
            Phase::Connecting { attempt } => format!("connecting, attempt {attempt}…"),
            Phase::Connected if self.lagging.is_empty() => "connected".to_owned(),
            Phase::Connected => "connected, catching up…".to_owned(),
            Phase::Waiting { until } => {
                let why = self.reason.as_ref().map_or_else(String::new, |why| format!(": {why}"));
                format!("not connected, next attempt in {} s{why}", seconds_left(*until, now))
            }
            Phase::LoggedOut => "logged out, logging in again…".to_owned(),
            Phase::Ended(why) => format!("ended: {why}"),
        }
    }

    pub(super) fn lags(&mut self, entity: EntityId, head: Seq) {
        self.lagging.insert(entity, head);
    }

    /// An event came, so that perhaps nothing waits any more.
    pub(super) fn came(&mut self, entity: EntityId, seq: Seq) {
        if self.lagging.get(&entity).is_some_and(|head| *head <= seq) {
            self.lagging.remove(&entity);
        }
    }

    /// Nothing of this entity waits, or is to be waited for.
    pub(super) fn forget(&mut self, entity: EntityId) {
        self.lagging.remove(&entity);
    }

    /// Another phase. What waited is told of anew by the next connection.
    pub(super) fn enter(&mut self, phase: Phase) {
        if phase != Phase::Connected {
            self.lagging.clear();
        }
        self.has_lived |= phase == Phase::Connected;
        self.phase = phase;
    }

    /// When the words change by themselves.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        match self.phase {
            Phase::Waiting { until } if until > now => {
                let left = until - now;
                let into_second = Duration::from_nanos(u64::from(left.subsec_nanos()));
                Some(now + if into_second.is_zero() { Duration::from_secs(1) } else { into_second })
            }
            _ => None,
        }
    }
}

/// Begun seconds count as whole ones: "in 0 s" would be no wait.
const fn seconds_left(until: Duration, now: Duration) -> u64 {
    let left = until.saturating_sub(now);
    left.as_secs() + if left.subsec_nanos() > 0 { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use panda_protocol::UserId;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_counts_down_by_seconds() {
        let mut connection = Connection::new(TransportKind::Quic);
        assert_eq!(connection.words(SECOND), "connecting…");
        connection.enter(Phase::Waiting { until: Duration::from_millis(3500) });
        assert_eq!(connection.words(SECOND), "not connected, next attempt in 3 s");
        assert_eq!(connection.due(SECOND), Some(Duration::from_millis(1500)));
        assert_eq!(connection.words(Duration::from_millis(1500)), "not connected, next attempt in 2 s");
        assert_eq!(connection.due(Duration::from_millis(1500)), Some(Duration::from_millis(2500)));
        assert_eq!(connection.due(Duration::from_secs(4)), None);
        connection.enter(Phase::Connecting { attempt: 3 });
        assert_eq!(connection.words(SECOND), "connecting, attempt 3…");
    }

    #[test]
    fn it_says_why_there_is_none_and_what_else_can_be_tried() {
        let mut connection = Connection::new(TransportKind::Quic);
        let reason = |text: &str| Some(Reason { is_certificate: false, text: text.into() });
        let waiting = Phase::Waiting { until: 3 * SECOND };
        connection.lost(reason("nobody answers there"), None);
        connection.enter(waiting.clone());
        let words = "not connected, next attempt in 2 s: nobody answers there; --ws takes WebSocket";
        assert_eq!(connection.words(SECOND), words);
        connection.lost(Some(Reason { is_certificate: true, text: "refused".into() }), None);
        assert_eq!(connection.words(SECOND), "not connected, next attempt in 2 s: refused");
        connection.enter(Phase::Connected);
        connection.lost(reason("nobody answers there"), None);
        connection.enter(waiting);
        assert_eq!(connection.words(SECOND), "not connected, next attempt in 2 s: nobody answers there");
        connection.lost(None, Some(ErrorCode::Overloaded as u16));
        assert!(connection.words(SECOND).ends_with(ErrorCode::Overloaded.text()));
    }

    #[test]
    fn it_catches_up_until_the_last_event_has_come() {
        let mut connection = Connection::new(TransportKind::WebSocket);
        connection.enter(Phase::Connected);
        assert!(connection.is_well());
        let entity = EntityId::from(UserId::from_random([1; 16]));
        connection.lags(entity, Seq(9));
        connection.came(entity, Seq(8));
        assert!(!connection.is_well());
        assert_eq!(connection.words(SECOND), "connected, catching up…");
        connection.came(entity, Seq(9));
        assert!(connection.is_well());
    }
}
