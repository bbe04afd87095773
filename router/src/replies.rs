//! What a user may read, and the bodies of the replies: pure.

use bytes::Bytes;
use panda_protocol::codec::{Wire, Writer};
use panda_protocol::event::Role;
use panda_protocol::frame::{Admission, ChatEntry, Direction, MemberEntry, Start};
use panda_protocol::limits::{PAGE_CHUNK_BYTES_MAX, PAGE_EVENTS_MAX};
use panda_protocol::link::Rejection;
use panda_protocol::{Counter, Cursor, DeviceId, EntityId, ErrorCode, Incarnation, Seq, UserId};
use panda_storage::ReadOrder;

use crate::chat::{known_to, live_member};
use crate::rows::{Row, RowId, RowValue, Rows, Window};

/// Rows read from the store at once for a listing.
pub(crate) const SCAN_ROWS: usize = 512;

/// May the user listen to the entity, and from where?
pub(crate) fn admission(
    rows: &dyn Rows,
    entity: EntityId,
    user: UserId,
    cursor: Option<Cursor>,
    incarnation: Incarnation,
) -> Result<Admission, Rejection> {
    let (head, _, _) = rows.head_stamp();
    let right = match entity.inbox() {
        Some(owner) if owner == user => OWN_INBOX,
        Some(_) => return Err(Rejection::new(ErrorCode::NotFound)),
        None => {
            let (_, member) = known_to(rows, user).map_err(Rejection::new)?;
            if member.ended.is_some() {
                return Err(Rejection::new(ErrorCode::NotMember));
            }
            (member.role, member.visible_from)
        }
    };
    Ok(admitted(head, right, cursor, incarnation))
}

/// What a user may do in the own inbox, and from which event on it is seen.
pub(crate) const OWN_INBOX: (Role, Seq) = (Role::Reader, Seq(1));

/// The admission to an entity that ends at `head` of somebody with this role who sees it from this event on.
pub(crate) fn admitted(
    head: Seq,
    (role, visible_from): (Role, Seq),
    cursor: Option<Cursor>,
    incarnation: Incarnation,
) -> Admission {
    let behind_head = head.next();
    let (start, from) = match cursor {
        None => (Start::Live, behind_head),
        Some(cursor) if cursor.incarnation != incarnation || cursor.seq > head => (Start::Reset, behind_head),
        Some(cursor) if cursor.seq.next() < visible_from => (Start::BeginsAt, visible_from),
        Some(cursor) => (Start::From, cursor.seq.next()),
    };
    Admission { start, incarnation, from, head, role, visible_from, proof: Bytes::new() }
}

/// Which events a page may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageRight {
    direction: Direction,
    from: Seq,
    limit: usize,
    begins_at: Seq,
    /// The last event that may be in it.
    ends_at: Seq,
    head: Seq,
}

/// May the user read these events? `catch_up`: one who was removed gets what came up to the removal.
pub(crate) fn page_right(
    rows: &dyn Rows,
    entity: EntityId,
    user: UserId,
    direction: Direction,
    from: Seq,
    limit: u64,
    catch_up: bool,
) -> Result<PageRight, Rejection> {
    let (head, _, _) = rows.head_stamp();
    // One who was removed learns nothing of what came later, its number included.
    let (begins_at, ends_at) = match entity.inbox() {
        Some(owner) if owner == user => (Seq(1), head),
        Some(_) => return Err(Rejection::new(ErrorCode::NotFound)),
        None => {
            let (_, member) = known_to(rows, user).map_err(Rejection::new)?;
            match member.ended {
                None => (member.visible_from, head),
                Some(ended) if catch_up => (member.visible_from, ended),
                Some(_) => return Err(Rejection::new(ErrorCode::NotMember)),
            }
        }
    };
    if limit == 0 || limit > PAGE_EVENTS_MAX as u64 {
        return Err(Rejection::new(ErrorCode::InvalidRequest));
    }
    let limit = usize::try_from(limit).unwrap_or(PAGE_EVENTS_MAX);
    Ok(PageRight { direction, from, limit, begins_at, ends_at, head: ends_at })
}

impl PageRight {
    /// Where reading starts, and how many events are read at most: all of them may be seen, and are stored.
    /// Nothing is read if there can be no event in the page.
    pub(crate) fn start(&self) -> Option<(Seq, ReadOrder, usize)> {
        let (from, order) = match self.direction {
            Direction::Forward => (self.from.max(self.begins_at), ReadOrder::Forward),
            Direction::Backward => (self.from.min(self.ends_at), ReadOrder::Backward),
        };
        if from < self.begins_at || from > self.ends_at || from == Seq(0) {
            return None;
        }
        let behind = match order {
            ReadOrder::Forward => self.ends_at.0 - from.0,
            ReadOrder::Backward => from.0 - self.begins_at.0,
        };
        Some((from, order, usize::try_from(behind.saturating_add(1)).map_or(self.limit, |there| there.min(self.limit))))
    }
}

/// The bodies of the PageChunks behind their request: at least one, the last marked.
pub(crate) fn page_chunks(right: &PageRight, incarnation: Incarnation, events: Vec<(Seq, Bytes)>) -> Vec<Bytes> {
    let events: Vec<Bytes> = events
        .into_iter()
        .filter(|(seq, _)| *seq >= right.begins_at && *seq <= right.ends_at)
        .map(|(_, event)| event)
        .take(right.limit)
        .collect();
    let mut chunks: Vec<Vec<Bytes>> = vec![Vec::new()];
    let mut bytes = 0;
    for event in events {
        if bytes + event.len() > PAGE_CHUNK_BYTES_MAX && bytes > 0 {
            chunks.push(Vec::new());
            bytes = 0;
        }
        bytes += event.len();
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(event);
        }
    }
    let last = chunks.len() - 1;
    let body = |(index, events): (usize, Vec<Bytes>)| {
        let mut out = Writer::with_capacity(PAGE_CHUNK_BYTES_MAX / 4);
        out.bool(index == last);
        out.value(&incarnation);
        out.value(&right.begins_at);
        out.value(&right.head);
        out.list(&events, |out, event| out.bytes(event));
        out.freeze()
    };
    chunks.into_iter().enumerate().map(body).collect()
}

/// Members may see who else is one.
pub(crate) fn may_list_members(rows: &dyn Rows, entity: EntityId, user: UserId) -> Result<(), Rejection> {
    admission(rows, entity, user, None, Incarnation::default()).map(|_| ())
}

/// Only the user sees the own chats.
pub(crate) fn may_list_chats(entity: EntityId, user: UserId) -> Result<(), Rejection> {
    if entity.inbox() == Some(user) { Ok(()) } else { Err(Rejection::new(ErrorCode::NotFound)) }
}

/// The body of a ChatInfoReply behind its request.
pub(crate) fn chat_info(
    rows: &dyn Rows,
    entity: EntityId,
    user: UserId,
    incarnation: Incarnation,
) -> Result<Bytes, Rejection> {
    let admission = admission(rows, entity, user, None, incarnation)?;
    let head = rows.chat_head().ok_or(Rejection::new(ErrorCode::NotFound))?;
    let mut out = Writer::with_capacity(64);
    out.value(&head.kind);
    out.bytes(head.name.as_bytes());
    out.value(&incarnation);
    out.value(&admission.head);
    out.varint(u64::from(head.members));
    out.value(&admission.role);
    out.value(&admission.visible_from);
    Ok(out.freeze())
}

/// The body of the answer to a ChatCount. Whoever may add the user to a chat may bring it about, so no right is asked
/// for; an edge tells nobody the number.
pub(crate) fn chat_count(rows: &dyn Rows, entity: EntityId) -> Result<Bytes, Rejection> {
    entity.inbox().ok_or(Rejection::new(ErrorCode::InvalidRequest))?;
    let mut out = Writer::with_capacity(4);
    out.varint(rows.inbox_head().map_or(0, |head| u64::from(head.chats)));
    Ok(out.freeze())
}

/// The body of the answer to a Joining: those of the users whom the command would make members. Where it would be
/// answered without adding anybody, it is nobody: the command's own answer is the one to give.
pub(crate) fn joining(
    rows: &dyn Rows,
    entity: EntityId,
    (user, device, counter): (UserId, DeviceId, Counter),
    users: &[UserId],
) -> Result<Bytes, Rejection> {
    entity.chat().ok_or(Rejection::new(ErrorCode::InvalidRequest))?;
    let was_applied = rows.window(user, device).and_then(Window::last).is_some_and(|last| counter <= last.counter);
    let may_not = rows.chat_head().is_some() && live_member(rows, user).is_none_or(|member| member.role < Role::Admin);
    let joins = |user: &&UserId| !was_applied && !may_not && live_member(rows, **user).is_none();
    let joining: Vec<UserId> = users.iter().filter(joins).copied().collect();
    let mut out = Writer::with_capacity(2 + 16 * joining.len());
    out.list(&joining, Writer::value);
    Ok(out.freeze())
}

/// Whether a row is in a listing: those who left are kept, and not shown.
pub(crate) fn is_listed(row: &Row) -> bool {
    match &row.value {
        RowValue::Member(member) => member.ended.is_none(),
        RowValue::InboxChat(chat) => chat.joined.is_some(),
        _ => false,
    }
}

/// The body of a MembersPage behind its request.
pub(crate) fn members_page(found: Vec<(RowId, Row)>, limit: usize) -> Bytes {
    listing(found, limit, None, |id, row| match (id, row) {
        (RowId::Member(user), RowValue::Member(member)) => {
            Some(MemberEntry { user, role: member.role, joined: member.joined })
        }
        _ => None,
    })
}

/// The body of a ChatsPage behind its request.
pub(crate) fn chats_page(found: Vec<(RowId, Row)>, limit: usize, head: Seq) -> Bytes {
    listing(found, limit, Some(head), |id, row| match (id, row) {
        (RowId::InboxChat(chat), RowValue::InboxChat(entry)) => {
            Some(ChatEntry { chat, joined: entry.joined?, read: entry.read })
        }
        _ => None,
    })
}

fn listing<T: Wire>(
    found: Vec<(RowId, Row)>,
    limit: usize,
    head: Option<Seq>,
    entry: impl Fn(RowId, RowValue) -> Option<T>,
) -> Bytes {
    let more = found.len() > limit;
    let entries: Vec<T> = found.into_iter().take(limit).filter_map(|(id, row)| entry(id, row.value)).collect();
    let mut out = Writer::with_capacity(32 * entries.len() + 16);
    out.bool(more);
    if let Some(head) = &head {
        out.value(head);
    }
    out.list(&entries, Writer::value);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use panda_protocol::Reader;
    use panda_protocol::frame::PageChunk;
    use panda_protocol::limits::{EVENT_BYTES_MAX, FRAME_BYTES_MAX};

    use super::*;

    /// The bytes of the events in each chunk of a page with events of these sizes.
    fn chunks_of(sizes: &[usize]) -> Vec<Vec<usize>> {
        let head = Seq(sizes.len() as u64);
        let (direction, limit) = (Direction::Forward, PAGE_EVENTS_MAX);
        let right = PageRight { direction, from: Seq(1), limit, begins_at: Seq(1), ends_at: head, head };
        let events = (1..).map(Seq).zip(sizes.iter().map(|size| Bytes::from(vec![7; *size])));
        let bodies = page_chunks(&right, Incarnation::default(), events.collect());
        let mut chunks = Vec::new();
        for (index, body) in bodies.iter().enumerate() {
            let mut frame = Writer::default();
            frame.varint(1);
            frame.raw(body);
            assert!(frame.len() < FRAME_BYTES_MAX, "a chunk fits a frame");
            let chunk: PageChunk = Reader::new(frame.freeze()).value().expect("a chunk");
            assert_eq!(chunk.last, index + 1 == bodies.len(), "the last one says so, and no other");
            chunks.push(chunk.events.iter().map(Bytes::len).collect());
        }
        chunks
    }

    #[test]
    fn a_chunk_of_a_page_ends_before_its_events_are_more_than_16_kib() {
        const MAX: usize = PAGE_CHUNK_BYTES_MAX;
        assert_eq!(chunks_of(&[]), [[0; 0]]);
        assert_eq!(chunks_of(&[1_024; 16]), [[1_024; 16]]);
        assert_eq!(chunks_of(&[1_024; 17]), [vec![1_024; 16], vec![1_024]]);
        assert_eq!(chunks_of(&[MAX - 1, 1, 1]), [vec![MAX - 1, 1], vec![1]]);
        assert_eq!(chunks_of(&[MAX - 1, 2]), [[MAX - 1], [2]]);
        // One that is longer than a chunk has one of its own.
        assert_eq!(chunks_of(&[1, EVENT_BYTES_MAX, 1]), [[1], [EVENT_BYTES_MAX], [1]]);
        assert_eq!(chunks_of(&[EVENT_BYTES_MAX; 3]), [[EVENT_BYTES_MAX]; 3]);
    }
}
