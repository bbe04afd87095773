//! What goes down a link, in order, and what happens when its other end is slow.
//!
//! Who sends never waits. While the channel is full, frames wait here; events beyond a limit are replaced by
//! one `Head` an entity, and the listeners read what they missed; reads whose bodies are beyond one are refused.
//! So a slow end costs a bounded amount of memory and holds nobody else up.

use std::collections::{HashMap, HashSet, VecDeque};

use panda_protocol::link::{Down, Events, ReadReply, Rejection};
use panda_protocol::{EntityId, ErrorCode, Generation, Seq, ShardId};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Events that may wait for a link; beyond, they become heads.
pub const WAITING_EVENTS_MAX: usize = 8_192;
/// Bytes of events that may wait for a link; beyond, they become heads too.
pub const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes of bodies of reads that may wait for a link, more than any one read has; beyond, reads are refused as
/// `unavailable`.
pub const WAITING_READ_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Who is refused a read asks again not before so many milliseconds.
const READ_RETRY_AFTER_MS: u64 = 1_000;
/// Frames that may wait before signals are dropped, and before of what only its latest word counts only that
/// is kept.
pub const WAITING_FRAMES_MAX: usize = 8_192;
/// Frames in one message of the channel.
const BATCH_FRAMES: usize = 1_024;
/// Bytes of events and bodies after which no more frames join a message: what waits in a channel is bounded, too.
const BATCH_BYTES: usize = 256 * 1024;

/// One link's way down. Answers, admissions and refusals always find room: who asked limits them.
#[derive(Debug)]
pub struct DownQueue {
    down: mpsc::Sender<Vec<Down>>,
    waiting: VecDeque<Down>,
    /// Events among what waits.
    events: usize,
    /// Their bytes.
    bytes: usize,
    /// Bytes of the bodies of reads among what waits.
    read_bytes: usize,
    /// Reads that were refused before all their parts came.
    refused_reads: HashSet<u64>,
    /// What replaces events that were dropped; leaves behind what waits.
    heads: HashMap<EntityId, Overflow>,
    /// The latest of each shard: they leave once nothing else waits, and so speak of what has left.
    watermarks: HashMap<ShardId, Down>,
    /// The latest of each shard.
    backlogs: HashMap<ShardId, Down>,
    overflows: u64,
}

#[derive(Clone, Copy, Debug)]
struct Overflow {
    generation: Generation,
    head: Seq,
    readmit: bool,
}

impl DownQueue {
    /// A queue before a link's channel.
    pub fn new(down: mpsc::Sender<Vec<Down>>) -> Self {
        Self {
            down,
            waiting: VecDeque::new(),
            events: 0,
            bytes: 0,
            read_bytes: 0,
            refused_reads: HashSet::new(),
            heads: HashMap::new(),
            watermarks: HashMap::new(),
            backlogs: HashMap::new(),
            overflows: 0,
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.heads.is_empty() && self.watermarks.is_empty() && self.backlogs.is_empty()
    }

    /// How many times events were replaced by a head since the last call.
    pub fn take_overflows(&mut self) -> u64 {
        std::mem::take(&mut self.overflows)
    }

    /// Puts a frame behind what waits.
    pub fn push(&mut self, down: Down) {
        let crowded = self.waiting.len() >= WAITING_FRAMES_MAX;
        let down = match down {
            Down::Read(reply) => return self.push_read(reply),
            down => down,
        };
        match &down {
            Down::Signal { .. } if crowded => return,
            Down::Events(events) => {
                let (count, bytes) = (events.events.len(), bytes_of(events));
                let full = self.events + count > WAITING_EVENTS_MAX || self.bytes + bytes > WAITING_BYTES_MAX;
                // Once an entity has a head waiting, its later events join it: order is kept.
                if full || self.heads.contains_key(&events.entity) {
                    let readmit = events.events.iter().any(|event| event.ends.is_some());
                    let head = events.events.last().map_or(Seq(0), |last| last.seq);
                    self.overflows += 1;
                    return self.overflow(events.entity, Overflow { generation: events.generation, head, readmit });
                }
                self.events += count;
                self.bytes += bytes;
            }
            Down::Head { generation, entity, head, readmit } if crowded || self.heads.contains_key(entity) => {
                let (generation, head, readmit) = (*generation, *head, *readmit);
                return self.overflow(*entity, Overflow { generation, head, readmit });
            }
            Down::Watermark { shard, .. } => {
                self.watermarks.insert(*shard, down);
                return;
            }
            Down::Backlog { shard, .. } if crowded || self.backlogs.contains_key(shard) => {
                self.backlogs.insert(*shard, down);
                return;
            }
            // Behind an Owner, heads of the term before would be taken for stale ones.
            Down::Owner { .. } => {
                let heads = self.heads.drain().map(Overflow::frame);
                self.waiting.extend(heads);
            }
            _ => {}
        }
        self.waiting.push_back(down);
    }

    /// A part of a read. One that finds no room ends its read, and those behind it are nobody's any more.
    fn push_read(&mut self, mut reply: ReadReply) {
        if self.refused_reads.contains(&reply.token) {
            if reply.last {
                self.refused_reads.remove(&reply.token);
            }
            return;
        }
        let bytes = reply.body.as_ref().map_or(0, bytes::Bytes::len);
        if self.read_bytes > 0 && self.read_bytes + bytes > WAITING_READ_BYTES_MAX {
            if !reply.last {
                self.refused_reads.insert(reply.token);
            }
            let retry_after_ms = READ_RETRY_AFTER_MS;
            let refusal = Rejection { retry_after_ms, ..Rejection::new(ErrorCode::Unavailable) };
            (reply.last, reply.body) = (true, Err(refusal));
        } else {
            self.read_bytes += bytes;
        }
        self.waiting.push_back(Down::Read(reply));
    }

    /// Hands over what the channel takes. Returns whether nothing waits any more.
    pub fn flush(&mut self) -> bool {
        while !self.is_empty() {
            let permit = match self.down.try_reserve() {
                Ok(permit) => permit,
                Err(TrySendError::Full(())) => return false,
                // The other end is gone; its closing is handled elsewhere.
                Err(TrySendError::Closed(())) => {
                    self.waiting.clear();
                    self.heads.clear();
                    self.watermarks.clear();
                    self.backlogs.clear();
                    self.events = 0;
                    self.bytes = 0;
                    self.read_bytes = 0;
                    return true;
                }
            };
            let (mut batch, mut batch_bytes) = (Vec::new(), 0);
            while batch.len() < BATCH_FRAMES
                && batch_bytes < BATCH_BYTES
                && let Some(down) = self.waiting.pop_front()
            {
                if let Down::Events(events) = &down {
                    let bytes = bytes_of(events);
                    self.events -= events.events.len();
                    self.bytes -= bytes;
                    batch_bytes += bytes;
                }
                if let Down::Read(ReadReply { body: Ok(body), .. }) = &down {
                    self.read_bytes -= body.len();
                    batch_bytes += body.len();
                }
                batch.push(down);
            }
            if self.waiting.is_empty() {
                batch.extend(self.heads.drain().map(Overflow::frame));
                batch.extend(self.watermarks.drain().map(|(_, down)| down));
                batch.extend(self.backlogs.drain().map(|(_, down)| down));
            }
            permit.send(batch);
        }
        true
    }

    /// Waits until the channel has room, or nobody is at its other end. Cancel safe.
    pub fn room(&self) -> impl Future<Output = ()> + Send + use<> {
        let down = self.down.clone();
        // An end that is gone takes what waits with the next flush.
        async move { drop(down.reserve_owned().await) }
    }

    fn overflow(&mut self, entity: EntityId, new: Overflow) {
        let overflow = self.heads.entry(entity).or_insert(new);
        overflow.generation = overflow.generation.max(new.generation);
        overflow.head = overflow.head.max(new.head);
        overflow.readmit |= new.readmit;
    }
}

impl Overflow {
    fn frame((entity, Self { generation, head, readmit }): (EntityId, Self)) -> Down {
        Down::Head { generation, entity, head, readmit }
    }
}

fn bytes_of(events: &Events) -> usize {
    events.events.iter().map(|event| event.event.len()).sum()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use panda_protocol::link::LinkEvent;
    use panda_protocol::{Position, UserId};

    use super::*;

    const GENERATION: Generation = Generation(7);

    fn inbox(number: u8) -> EntityId {
        UserId::from_random([number; 16]).into()
    }

    fn event(seq: u64, size: usize, ends: Option<UserId>) -> LinkEvent {
        LinkEvent { seq: Seq(seq), ends, event: Bytes::from(vec![0; size]) }
    }

    fn events(entity: EntityId, events: Vec<LinkEvent>) -> Down {
        Down::Events(Events { generation: GENERATION, entity, events })
    }

    fn head(entity: EntityId, seq: u64, readmit: bool) -> Down {
        Down::Head { generation: GENERATION, entity, head: Seq(seq), readmit }
    }

    fn owner() -> Down {
        Down::Owner { shard: ShardId(0), generation: Generation(8) }
    }

    fn watermark(offset: u64) -> Down {
        let position = Position { epoch: 1, offset };
        Down::Watermark { shard: ShardId(0), generation: GENERATION, position }
    }

    fn backlog(age_ms: u64) -> Down {
        Down::Backlog { shard: ShardId(0), age_ms }
    }

    fn linked() -> (DownQueue, mpsc::Receiver<Vec<Down>>) {
        let (down, received) = mpsc::channel(64);
        (DownQueue::new(down), received)
    }

    fn received(from: &mut mpsc::Receiver<Vec<Down>>) -> Vec<Down> {
        std::iter::from_fn(|| from.try_recv().ok()).flatten().collect()
    }

    /// As many frames as may wait before they are crowded.
    fn crowd(queue: &mut DownQueue) {
        for _ in 0..WAITING_FRAMES_MAX {
            queue.push(Down::Replaced { session: panda_protocol::SessionId::from_random([1; 16]) });
        }
    }

    #[test]
    fn events_beyond_the_count_become_one_head_of_their_entity() {
        let (mut queue, mut down) = linked();
        let full = (1..=WAITING_EVENTS_MAX as u64).map(|seq| event(seq, 1, None)).collect();
        queue.push(events(inbox(1), full));
        queue.push(events(inbox(2), vec![event(3, 1, None)]));
        queue.push(events(inbox(2), vec![event(4, 1, None), event(5, 1, None)]));
        assert_eq!(queue.take_overflows(), 2);
        assert!(queue.flush(), "the channel has room");
        assert_eq!(received(&mut down)[1..], [head(inbox(2), 5, false)]);
    }

    #[test]
    fn events_beyond_the_bytes_become_a_head() {
        let (mut queue, mut down) = linked();
        queue.push(events(inbox(1), vec![event(1, WAITING_BYTES_MAX, None)]));
        queue.push(events(inbox(2), vec![event(1, 1, None)]));
        queue.flush();
        assert_eq!(received(&mut down)[1..], [head(inbox(2), 1, false)]);
    }

    #[test]
    fn a_head_that_stands_for_the_end_of_a_right_says_readmit() {
        let (mut queue, mut down) = linked();
        queue.push(events(inbox(1), vec![event(1, WAITING_BYTES_MAX, None)]));
        queue.push(events(inbox(2), vec![event(1, 1, Some(UserId::from_random([9; 16])))]));
        queue.push(events(inbox(2), vec![event(2, 1, None)]));
        queue.flush();
        assert_eq!(received(&mut down)[1..], [head(inbox(2), 2, true)]);
    }

    #[test]
    fn what_has_left_makes_room_for_bodies_again() {
        let (mut queue, mut down) = linked();
        for seq in 1..=3 {
            queue.push(events(inbox(1), vec![event(seq, WAITING_BYTES_MAX, None)]));
            queue.flush();
            assert!(matches!(received(&mut down)[..], [Down::Events(_)]));
        }
        assert_eq!(queue.take_overflows(), 0);
    }

    fn part(token: u64, bytes: usize, last: bool) -> Down {
        Down::Read(ReadReply { token, last, body: Ok(Bytes::from(vec![0; bytes])) })
    }

    fn refused(token: u64) -> Down {
        let why = Rejection { retry_after_ms: READ_RETRY_AFTER_MS, ..Rejection::new(ErrorCode::Unavailable) };
        Down::Read(ReadReply { token, last: true, body: Err(why) })
    }

    #[test]
    fn a_read_whose_bodies_find_no_room_is_refused_once_and_others_go_on_when_there_is() {
        let (mut queue, mut down) = linked();
        const HALF: usize = WAITING_READ_BYTES_MAX / 2;
        queue.push(part(1, HALF, false));
        // Two reads at once, as several routers send them.
        queue.push(part(2, HALF, false));
        for last in [false, true] {
            queue.push(part(1, 1, last));
            queue.push(part(2, 0, last));
        }
        queue.push(part(3, 1, true));
        queue.push(owner());
        assert_eq!(queue.read_bytes, WAITING_READ_BYTES_MAX);
        assert!(queue.flush(), "the channel has room");
        let expected = [
            part(1, HALF, false),
            part(2, HALF, false),
            refused(1),
            part(2, 0, false),
            part(2, 0, true),
            refused(3),
            owner(),
        ];
        assert_eq!(received(&mut down), expected);
        assert_eq!((queue.read_bytes, queue.refused_reads.len()), (0, 0));
        // One that is larger than anything may be goes alone.
        queue.push(part(4, 2 * WAITING_READ_BYTES_MAX, true));
        queue.push(part(5, 1, true));
        assert!(queue.flush());
        assert_eq!(received(&mut down)[1..], [refused(5)]);
    }

    #[test]
    fn bodies_of_reads_count_for_what_waits_in_the_channel() {
        let (down, mut received) = mpsc::channel(1);
        let mut queue = DownQueue::new(down);
        (0..4).for_each(|token| queue.push(part(token, BATCH_BYTES / 2, true)));
        assert!(!queue.flush());
        assert_eq!(received.try_recv().map(|batch| batch.len()), Ok(2));
    }

    #[test]
    fn a_head_leaves_before_the_next_term_and_before_a_watermark_that_covers_it() {
        let (mut queue, mut down) = linked();
        queue.push(events(inbox(1), vec![event(1, WAITING_BYTES_MAX, None)]));
        queue.push(events(inbox(2), vec![event(1, 1, None)]));
        queue.push(watermark(4));
        queue.push(owner());
        queue.flush();
        assert_eq!(received(&mut down)[1..], [head(inbox(2), 1, false), owner(), watermark(4)]);
    }

    #[test]
    fn of_what_only_the_latest_counts_a_crowd_keeps_one() {
        let (mut queue, mut down) = linked();
        crowd(&mut queue);
        for number in 1..100 {
            queue.push(watermark(number));
            queue.push(backlog(number));
            queue.push(head(inbox(1), number, number == 50));
        }
        queue.flush();
        assert_eq!(received(&mut down)[WAITING_FRAMES_MAX..], [head(inbox(1), 99, true), watermark(99), backlog(99)]);
    }

    #[tokio::test]
    async fn room_is_waited_for_and_a_gone_end_takes_all() {
        let (down, mut received) = mpsc::channel(1);
        let mut queue = DownQueue::new(down);
        queue.push(owner());
        assert!(queue.flush());
        queue.push(backlog(1));
        assert!(!queue.flush(), "the channel is full");
        let room = queue.room();
        assert_eq!(received.recv().await, Some(vec![owner()]));
        room.await;
        assert!(queue.flush());
        drop(received);
        queue.push(owner());
        assert!(queue.flush() && queue.is_empty());
    }
}
