//! The router's ends of the links: what goes down each, in order, and what happens when one is slow.
//!
//! A link's channel is bounded. While it is full, frames wait here; events beyond a limit are
//! replaced by one `Head` an entity, and the edge reads what it missed. So a slow edge costs the
//! router a bounded amount of memory and holds nobody else up.

use std::collections::{BTreeMap, HashMap, VecDeque};

use panda_protocol::link::{Down, Events, LinkId};
use panda_protocol::{EntityId, Generation, Seq, ShardId};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Events that may wait for a link; beyond, they become heads.
const WAITING_EVENTS_MAX: usize = 8_192;
/// Frames in one message of the channel.
const BATCH_FRAMES: usize = 1_024;
/// Bytes of events that may wait for a link; beyond, they become heads too.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Frames that may wait before signals are dropped.
const WAITING_SIGNALS_MAX: usize = 8_192;

#[derive(Debug)]
struct Link {
    down: mpsc::Sender<Vec<Down>>,
    waiting: VecDeque<Down>,
    /// Events among what waits.
    events: usize,
    /// Their bytes.
    bytes: usize,
    /// What replaces events that were dropped.
    heads: HashMap<EntityId, Overflow>,
    /// The newest of each shard: they leave once nothing else waits, and so speak of what has left.
    watermarks: BTreeMap<ShardId, Down>,
}

#[derive(Clone, Copy, Debug)]
struct Overflow {
    generation: Generation,
    head: Seq,
    readmit: bool,
}

/// All links, as one thread sees them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: HashMap<LinkId, Link>,
    /// Links with something to send.
    touched: Vec<LinkId>,
    /// The shards that this thread owns, and its terms.
    owned: BTreeMap<ShardId, Generation>,
    overflows: u64,
}

impl Links {
    pub(crate) fn attach(&mut self, id: LinkId, down: mpsc::Sender<Vec<Down>>) {
        self.links.insert(
            id,
            Link {
                down,
                waiting: VecDeque::new(),
                events: 0,
                bytes: 0,
                heads: HashMap::new(),
                watermarks: BTreeMap::new(),
            },
        );
        for (shard, generation) in self.owned.clone() {
            self.send(id, Down::Owner { shard, generation });
        }
        self.flush();
    }

    /// From here on the shard is this router's: every link is told before anything else of the term.
    pub(crate) fn own(&mut self, shard: ShardId, generation: Generation) {
        self.owned.insert(shard, generation);
        self.broadcast(&Down::Owner { shard, generation });
        self.flush();
    }

    /// The shard is another's, or nobody's.
    pub(crate) fn disown(&mut self, shard: ShardId) {
        self.owned.remove(&shard);
    }

    pub(crate) fn detach(&mut self, id: LinkId) {
        self.links.remove(&id);
    }

    /// How many times events were replaced by a head since the last call.
    pub(crate) fn take_overflows(&mut self) -> u64 {
        std::mem::take(&mut self.overflows)
    }

    /// Puts a frame behind what goes down a link. A link that is gone takes nothing.
    pub(crate) fn send(&mut self, id: LinkId, down: Down) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if link.is_empty() {
            self.touched.push(id);
        }
        if let Down::Watermark { shard, .. } = down {
            link.watermarks.insert(shard, down);
            return;
        }
        if matches!(down, Down::Signal { .. }) && link.waiting.len() >= WAITING_SIGNALS_MAX {
            return;
        }
        if let Down::Events(events) = &down {
            let bytes = bytes_of(events);
            let full = link.events + events.events.len() > WAITING_EVENTS_MAX || link.bytes + bytes > WAITING_BYTES_MAX;
            // Once an entity has a head waiting, its later events join it: order is kept.
            if full || link.heads.contains_key(&events.entity) {
                let readmit = events.events.iter().any(|event| event.ends.is_some());
                let head = events.events.last().map_or(Seq(0), |last| last.seq);
                let overflow = link.heads.entry(events.entity).or_insert(Overflow {
                    generation: events.generation,
                    head,
                    readmit,
                });
                overflow.head = overflow.head.max(head);
                overflow.readmit |= readmit;
                self.overflows += 1;
                return;
            }
            link.events += events.events.len();
            link.bytes += bytes;
        }
        link.waiting.push_back(down);
    }

    /// Puts a frame behind what goes down every link.
    pub(crate) fn broadcast(&mut self, down: &Down) {
        let ids: Vec<LinkId> = self.links.keys().copied().collect();
        for id in ids {
            self.send(id, down.clone());
        }
    }

    /// Hands over what the channels take. Returns whether something still waits.
    pub(crate) fn flush(&mut self) -> bool {
        let mut waiting = Vec::new();
        for id in std::mem::take(&mut self.touched) {
            if let Some(link) = self.links.get_mut(&id)
                && !link.flush()
            {
                waiting.push(id);
            }
        }
        self.touched = waiting;
        !self.touched.is_empty()
    }
}

impl Link {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.heads.is_empty() && self.watermarks.is_empty()
    }

    /// Whether nothing waits any more.
    fn flush(&mut self) -> bool {
        loop {
            if self.is_empty() {
                return true;
            }
            let permit = match self.down.try_reserve() {
                Ok(permit) => permit,
                Err(TrySendError::Full(())) => return false,
                // The link's other end is gone; its closing is handled elsewhere.
                Err(TrySendError::Closed(())) => {
                    self.waiting.clear();
                    self.heads.clear();
                    self.watermarks.clear();
                    self.events = 0;
                    self.bytes = 0;
                    return true;
                }
            };
            let count = self.waiting.len().min(BATCH_FRAMES);
            let mut batch: Vec<Down> = self.waiting.drain(..count).collect();
            for down in &batch {
                if let Down::Events(events) = down {
                    self.events -= events.events.len();
                    self.bytes -= bytes_of(events);
                }
            }
            if self.waiting.is_empty() {
                batch.extend(self.heads.drain().map(|(entity, overflow)| Down::Head {
                    generation: overflow.generation,
                    entity,
                    head: overflow.head,
                    readmit: overflow.readmit,
                }));
                batch.extend(std::mem::take(&mut self.watermarks).into_values());
            }
            permit.send(batch);
        }
    }
}

fn bytes_of(events: &Events) -> usize {
    events.events.iter().map(|event| event.event.len()).sum()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use panda_protocol::UserId;
    use panda_protocol::link::LinkEvent;

    use super::*;

    const LINK: LinkId = LinkId(1);

    fn inbox(number: u8) -> EntityId {
        UserId::from_random([number; 16]).into()
    }

    fn event(seq: u64, size: usize, ends: Option<UserId>) -> LinkEvent {
        LinkEvent { seq: Seq(seq), ends, event: Bytes::from(vec![0; size]) }
    }

    fn events(entity: EntityId, events: Vec<LinkEvent>) -> Down {
        Down::Events(Events { generation: Generation(7), entity, events })
    }

    fn head(entity: EntityId, seq: u64, readmit: bool) -> Down {
        Down::Head { generation: Generation(7), entity, head: Seq(seq), readmit }
    }

    fn linked() -> (Links, mpsc::Receiver<Vec<Down>>) {
        let (down, received) = mpsc::channel(64);
        let mut links = Links::default();
        links.attach(LINK, down);
        (links, received)
    }

    fn received(from: &mut mpsc::Receiver<Vec<Down>>) -> Vec<Down> {
        std::iter::from_fn(|| from.try_recv().ok()).flatten().collect()
    }

    #[test]
    fn events_beyond_the_count_become_one_head_of_their_entity() {
        let (mut links, mut down) = linked();
        let full = (1..=WAITING_EVENTS_MAX as u64).map(|seq| event(seq, 1, None)).collect();
        links.send(LINK, events(inbox(1), full));
        links.send(LINK, events(inbox(2), vec![event(3, 1, None)]));
        links.send(LINK, events(inbox(2), vec![event(4, 1, None), event(5, 1, None)]));
        assert_eq!(links.take_overflows(), 2);
        assert!(!links.flush(), "the channel has room");
        assert_eq!(received(&mut down)[1..], [head(inbox(2), 5, false)]);
    }

    #[test]
    fn events_beyond_the_bytes_become_a_head() {
        let (mut links, mut down) = linked();
        links.send(LINK, events(inbox(1), vec![event(1, WAITING_BYTES_MAX, None)]));
        links.send(LINK, events(inbox(2), vec![event(1, 1, None)]));
        links.flush();
        assert_eq!(received(&mut down)[1..], [head(inbox(2), 1, false)]);
    }

    #[test]
    fn a_head_that_stands_for_the_end_of_a_right_says_readmit() {
        let (mut links, mut down) = linked();
        links.send(LINK, events(inbox(1), vec![event(1, WAITING_BYTES_MAX, None)]));
        links.send(LINK, events(inbox(2), vec![event(1, 1, Some(UserId::from_random([9; 16])))]));
        links.send(LINK, events(inbox(2), vec![event(2, 1, None)]));
        links.flush();
        assert_eq!(received(&mut down)[1..], [head(inbox(2), 2, true)]);
    }

    #[test]
    fn a_watermark_leaves_behind_everything_and_only_the_newest_of_a_shard() {
        let (mut links, mut down) = linked();
        let watermark = |shard, offset| Down::Watermark {
            shard: ShardId(shard),
            generation: Generation(7),
            position: panda_protocol::Position { epoch: 1, offset },
        };
        links.send(LINK, watermark(1, 4));
        links.send(LINK, events(inbox(1), vec![event(1, WAITING_BYTES_MAX, None)]));
        links.send(LINK, events(inbox(2), vec![event(1, 1, None)]));
        links.send(LINK, watermark(2, 9));
        links.send(LINK, watermark(1, 5));
        links.send(LINK, events(inbox(3), vec![event(1, 1, None)]));
        links.flush();
        let received = received(&mut down);
        assert!(matches!(received[..3], [Down::Events(_), Down::Head { .. }, Down::Head { .. }]), "{received:?}");
        assert_eq!(received[3..], [watermark(1, 5), watermark(2, 9)]);
        links.send(LINK, watermark(1, 6));
        links.flush();
        assert_eq!(self::received(&mut down), [watermark(1, 6)], "it needs no other frame to leave");
    }

    #[test]
    fn what_has_left_makes_room_for_bodies_again() {
        let (mut links, mut down) = linked();
        for seq in 1..=3 {
            links.send(LINK, events(inbox(1), vec![event(seq, WAITING_BYTES_MAX, None)]));
            links.flush();
            assert!(matches!(received(&mut down)[..], [Down::Events(_)]));
        }
        assert_eq!(links.take_overflows(), 0);
    }
}
