//! Pages of events, members and chats that a client asked for.
//!
//! A page is large, and a client may ask for a thousand at once. So a session has one read out at a
//! time, and only while there is room for what it brings: beyond its bound an outbox holds at most one
//! slice of a page. Long pages are read in slices, which the client does not see.

use std::collections::VecDeque;

use bytes::Bytes;
use panda_protocol::event::peek_seq;
use panda_protocol::frame::{Direction, PageChunk, RequestId};
use panda_protocol::framing::frame_bytes;
use panda_protocol::limits::PAGE_EVENTS_MAX;
use panda_protocol::link::{ReadQuery, Rejection};
use panda_protocol::{DecodeError, EntityId, ErrorCode, Reader, Seq, Writer};
use panda_storage::command_log::CommandLog;

use super::{SessionKey, UnderWay, Waiting};
use crate::transport::Outgoing;
use crate::worker::Core;

/// Events of a page that are read at once: at most 640 KiB.
const SLICE_EVENTS: u64 = 32;

/// Which stream a request came on; its reply leaves on the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// The session itself.
    Session,
    /// The stream for pages.
    Pages,
}

/// A read that waits for its turn, or whose answer is waited for.
#[derive(Clone, Debug)]
pub(crate) struct PageRead {
    pub(crate) request: RequestId,
    /// The reply's frame type.
    pub(crate) kind: u8,
    pub(crate) lane: Lane,
    pub(crate) entity: EntityId,
    pub(crate) query: ReadQuery,
    /// Events wanted behind this slice.
    left: u64,
    /// Events of this slice that came.
    came: u64,
    /// The last of them.
    last: Seq,
    /// Behind which there is none in the page's direction.
    end: Seq,
}

/// A session's reads.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    waiting: VecDeque<PageRead>,
    out: Option<PageRead>,
}

impl Reads {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.out.is_none()
    }
}

impl PageRead {
    pub(crate) fn new(request: RequestId, kind: u8, lane: Lane, entity: EntityId, mut query: ReadQuery) -> Self {
        let mut left = 0;
        if let ReadQuery::Page { limit, .. } = &mut query
            // Another limit is refused by who reads.
            && (SLICE_EVENTS..=PAGE_EVENTS_MAX as u64).contains(limit)
        {
            left = *limit - SLICE_EVENTS;
            *limit = SLICE_EVENTS;
        }
        Self { request, kind, lane, entity, query, left, came: 0, last: Seq(0), end: Seq(0) }
    }

    /// Counts what a part of a slice brought.
    fn count(&mut self, body: &Bytes) -> Result<(), DecodeError> {
        if let ReadQuery::Page { direction, .. } = self.query {
            let PageChunk { events, begins_at, head, .. } = chunk(body)?;
            self.came += events.len() as u64;
            self.end = if direction == Direction::Forward { head } else { begins_at };
            if let Some(last) = events.last() {
                self.last = peek_seq(last)?;
            }
        }
        Ok(())
    }

    /// The slice behind this one, if more is wanted and there is more. Who reads may give fewer events than were
    /// asked for, if they are long.
    fn behind(&self) -> Option<Self> {
        let ReadQuery::Page { direction, limit, .. } = self.query else { return None };
        let left = self.left + limit.saturating_sub(self.came);
        let from = match direction {
            Direction::Forward if self.last < self.end => self.last.next(),
            Direction::Backward if self.last > self.end => Seq(self.last.0 - 1),
            _ => return None,
        };
        if left == 0 || self.came == 0 {
            return None;
        }
        let limit = left.min(SLICE_EVENTS);
        let query = ReadQuery::Page { direction, from, limit };
        Some(Self { query, left: left - limit, came: 0, ..self.clone() })
    }

    /// The reply's frame. What ends a slice but not the page is not marked as the last.
    fn frame(&self, body: &Bytes, goes_on: bool) -> Outgoing {
        let frame = frame_bytes(self.kind, body.len() + 8, |out| {
            out.value(&self.request);
            if goes_on {
                out.bool(false);
                out.raw(&body[1..]);
            } else {
                out.raw(body);
            }
        });
        Outgoing::new(&frame)
    }
}

impl<L: CommandLog> Core<L> {
    pub(super) fn read(&mut self, key: SessionKey, read: PageRead) {
        if let Some(member) = self.member_mut(key) {
            member.under_way_or_new().reads.waiting.push_back(read);
        }
        self.read_on(key);
    }

    /// Sends the next read if none is out and there is room for its answer.
    pub(crate) fn read_on(&mut self, key: SessionKey) {
        loop {
            let half = self.limits.outbox_bytes_max / 2;
            let Some(session) = self.session_mut(key) else { return };
            let roomy = |lane| match lane {
                Lane::Session => session.outbox.bytes() <= half,
                // Who closed the stream gets no answer and takes no room.
                Lane::Pages => session.pages.as_ref().is_none_or(|outbox| outbox.bytes() <= half),
            };
            let (roomy_session, roomy_pages) = (roomy(Lane::Session), roomy(Lane::Pages));
            let Some(member) = &mut session.member else { return };
            let user = member.user;
            let Some(UnderWay { reads, .. }) = member.under_way.as_deref_mut() else { return };
            if reads.out.is_some() {
                return;
            }
            let is_next = |read: &PageRead| match read.lane {
                Lane::Session => roomy_session,
                Lane::Pages => roomy_pages,
            };
            let Some(next) = reads.waiting.iter().position(is_next) else { return };
            let Some(read) = reads.waiting.remove(next) else { return };
            if reads.waiting.is_empty() {
                reads.waiting = VecDeque::new();
            }
            let (entity, query) = (read.entity, read.query.clone());
            reads.out = Some(read);
            let asked = self.links.read(self.now_ms(), user, entity, query, Waiting::Read { session: key });
            self.stir();
            let Err((rejection, _)) = asked else { return };
            self.read_refused(key, rejection);
        }
    }

    /// A part of what was read; more parts follow.
    pub(crate) fn read_part(&mut self, key: SessionKey, body: &Bytes) {
        let Some(read) = self.under_way_mut(key).and_then(|under_way| under_way.reads.out.as_mut()) else { return };
        let counted = read.count(body);
        let (frame, lane, entity) = (read.frame(body, false), read.lane, read.entity);
        self.queue_on(key, lane, frame);
        if let Err(error) = counted {
            self.unreadable(key, Some(entity), error);
        }
    }

    /// The last part of what was read, or why there is none.
    pub(crate) fn read_last(&mut self, key: SessionKey, outcome: Result<Bytes, Rejection>) {
        match outcome {
            Ok(body) => {
                let Some(mut read) = self.read_out(key) else { return };
                if let Err(error) = read.count(&body) {
                    return self.unreadable(key, Some(read.entity), error);
                }
                let behind = read.behind();
                self.queue_on(key, read.lane, read.frame(&body, behind.is_some()));
                match (behind, self.member_mut(key)) {
                    (Some(behind), Some(member)) => member.under_way_or_new().reads.waiting.push_front(behind),
                    _ => self.replied(key),
                }
            }
            Err(rejection) => self.read_refused(key, rejection),
        }
        self.read_on(key);
    }

    /// Takes the read that is out.
    fn read_out(&mut self, key: SessionKey) -> Option<PageRead> {
        self.under_way_mut(key)?.reads.out.take()
    }

    fn read_refused(&mut self, key: SessionKey, rejection: Rejection) {
        let Some(read) = self.read_out(key) else { return };
        self.refuse_on(key, read.lane, read.request, rejection);
    }

    /// A router's page is of another version or broken: the session cannot go on with it.
    pub(super) fn unreadable(&mut self, key: SessionKey, entity: Option<EntityId>, error: DecodeError) {
        let (session, user) = self.who(key);
        let entity = entity.map(tracing::field::display);
        tracing::error!(session, user, entity, %error, "a router sent a page that cannot be read");
        self.end(key, ErrorCode::Internal.into());
    }
}

/// A page's chunk, from its body behind the request number.
pub(super) fn chunk(body: &Bytes) -> Result<PageChunk, DecodeError> {
    let mut whole = Writer::with_capacity(body.len() + 1);
    whole.value(&RequestId(0));
    whole.raw(body);
    Reader::new(whole.freeze()).value()
}
