//! A router of a few chats that answers when the test says so, and whose link may overflow.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use panda_protocol::event::{Digest, Event, EventBody, MessageFormat, Role};
use panda_protocol::frame::{Admission, Direction, Start};
use panda_protocol::limits::USER_CHATS_MAX;
use panda_protocol::link::{Admit, Admitted, Down, Events, LinkEvent, Read, ReadQuery, ReadReply, Rejection, Up};
use panda_protocol::{Counter, DeviceId, EntityId, ErrorCode, Generation, Incarnation, Seq, Time, UserId, Writer};

const GENERATION: Generation = Generation(1);
const EVENTS_A_PART: usize = 3;

#[derive(Clone, Copy)]
struct Right {
    visible_from: Seq,
    ended: Option<Seq>,
}

#[derive(Default)]
pub(super) struct Entity {
    pub(super) events: Vec<LinkEvent>,
    rights: HashMap<UserId, Right>,
    former: Vec<(UserId, Right)>,
}

impl Entity {
    pub(super) fn head(&self) -> Seq {
        Seq(self.events.len() as u64)
    }

    fn push(&mut self, text_len: usize, ends: Option<UserId>) -> LinkEvent {
        let event = Event {
            seq: self.head().next(),
            time: Time(self.head().0 + 1),
            actor: super::user(1),
            device: DeviceId::NONE,
            counter: Counter(0),
            digest: Digest::default(),
            target: ends,
            body: match ends {
                Some(_) => EventBody::MemberRemoved,
                None => EventBody::MessageSent { format: MessageFormat::Text, text: "x".repeat(text_len).into() },
            },
        };
        self.events.push(LinkEvent { seq: event.seq, ends, event: event.to_bytes() });
        self.events[self.events.len() - 1].clone()
    }
}

#[derive(Default)]
pub(super) struct Router {
    pub(super) chats: HashMap<EntityId, Entity>,
    interest: HashSet<EntityId>,
    pub(super) asked: VecDeque<Up>,
    pub(super) down: VecDeque<Down>,
    /// Bodies are dropped until the link is empty.
    overflow: HashMap<EntityId, (Seq, bool)>,
    pub(super) forgets: usize,
    /// It cannot read what is stored of these.
    pub(super) damaged: HashSet<EntityId>,
    /// These users are in as many chats as a user may be.
    pub(super) full: HashSet<UserId>,
}

impl Router {
    pub(super) fn add(&mut self, entity: EntityId, member: UserId, with_history: bool) {
        let chat = self.chats.entry(entity).or_default();
        let event = chat.push(10, None);
        let visible_from = if with_history { Seq(1) } else { event.seq };
        let former = chat.rights.insert(member, Right { visible_from, ended: None });
        chat.former.extend(former.map(|right| (member, right)));
        self.release(entity, event);
    }

    pub(super) fn remove(&mut self, entity: EntityId, member: UserId) {
        let Some(chat) = self.chats.get_mut(&entity) else { return };
        let event = chat.push(0, Some(member));
        if let Some(right) = chat.rights.get_mut(&member) {
            right.ended = Some(event.seq);
        }
        self.release(entity, event);
    }

    pub(super) fn say(&mut self, entity: EntityId, text_len: usize) {
        let event = self.chats.entry(entity).or_default().push(text_len, None);
        self.release(entity, event);
    }

    pub(super) fn is_member(&self, entity: EntityId, user: UserId) -> bool {
        self.chats[&entity].rights.get(&user).is_some_and(|right| right.ended.is_none())
    }

    /// Whether there was a time at which the user might see the event.
    pub(super) fn was_visible(&self, entity: EntityId, user: UserId, seq: Seq) -> bool {
        let chat = &self.chats[&entity];
        let now = chat.rights.get(&user).map(|right| (user, *right));
        let mut rights = chat.former.iter().copied().chain(now);
        rights
            .any(|(of, right)| of == user && seq >= right.visible_from && right.ended.is_none_or(|ended| seq <= ended))
    }

    fn release(&mut self, entity: EntityId, event: LinkEvent) {
        if !self.interest.contains(&entity) {
            return;
        }
        if let Some((head, readmit)) = self.overflow.get_mut(&entity) {
            *head = event.seq;
            *readmit |= event.ends.is_some();
            return;
        }
        // As from the owner: what is said while nothing else happens is one write.
        match self.down.back_mut() {
            Some(Down::Events(before)) if before.entity == entity => before.events.push(event),
            _ => self.down.push_back(Down::Events(Events { generation: GENERATION, entity, events: vec![event] })),
        }
    }

    /// From now on, and until the link is empty, the entity's bodies are dropped.
    pub(super) fn overflow(&mut self, entity: EntityId) {
        if let Some(chat) = self.chats.get(&entity)
            && self.interest.contains(&entity)
        {
            self.overflow.entry(entity).or_insert_with(|| (chat.head(), false));
        }
    }

    /// Hands over the next frame that goes down.
    pub(super) fn next_down(&mut self) -> Option<Down> {
        if self.down.is_empty() {
            let heads = std::mem::take(&mut self.overflow).into_iter();
            self.down.extend(heads.map(|(entity, (head, readmit))| Down::Head {
                generation: GENERATION,
                entity,
                head,
                readmit,
            }));
        }
        self.down.pop_front()
    }

    /// Frames that need no look at the log are handled at once, as the shard does.
    pub(super) fn take(&mut self, up: Up) {
        match up {
            Up::Forget { entity } => {
                self.forgets += 1;
                self.interest.remove(&entity);
            }
            Up::Admit(_) | Up::Read(_) => self.asked.push_back(up),
            _ => {}
        }
    }

    /// Answers the oldest question.
    pub(super) fn answer(&mut self) -> bool {
        match self.asked.pop_front() {
            Some(Up::Admit(admit)) => self.admit(&admit),
            Some(Up::Read(read)) => self.read(&read),
            _ => return false,
        }
        true
    }

    fn admit(&mut self, admit: &Admit) {
        let chat = self.chats.entry(admit.entity).or_default();
        let head = chat.head();
        let inbox = Right { visible_from: Seq(1), ended: None };
        let right = if admit.entity.chat().is_some() { chat.rights.get(&admit.user).copied() } else { Some(inbox) };
        let outcome = match right {
            _ if self.damaged.contains(&admit.entity) => {
                Err(Rejection { retry_after_ms: 60_000, ..Rejection::new(ErrorCode::Damaged) })
            }
            Some(Right { visible_from, ended: None }) => {
                let (start, from) = match admit.cursor {
                    None => (Start::Live, head.next()),
                    Some(cursor) if cursor.seq.next() < visible_from => (Start::BeginsAt, visible_from),
                    Some(cursor) => (Start::From, cursor.seq.next()),
                };
                self.interest.insert(admit.entity);
                Ok(Admission {
                    start,
                    incarnation: Incarnation::default(),
                    from,
                    head,
                    role: Role::Member,
                    visible_from,
                    proof: Bytes::new(),
                })
            }
            _ => Err(Rejection::new(ErrorCode::NotMember)),
        };
        let (token, entity) = (admit.token, admit.entity);
        self.down.push_back(Down::Admitted(Admitted { token, generation: GENERATION, entity, outcome }));
    }

    /// What a command that would add users to a chat is told of them.
    fn limit(&self, read: &Read) -> Option<Result<Bytes, Rejection>> {
        let mut body = Writer::default();
        match &read.query {
            ReadQuery::ChatCount if self.damaged.contains(&read.entity) => {
                return Some(Err(Rejection::new(ErrorCode::Damaged)));
            }
            ReadQuery::ChatCount => {
                let full = read.entity.inbox().is_some_and(|user| self.full.contains(&user));
                body.varint(if full { USER_CHATS_MAX as u64 } else { 0 });
            }
            ReadQuery::Joining { users, .. } => body.list(users, Writer::value),
            _ => return None,
        }
        Some(Ok(body.freeze()))
    }

    fn read(&mut self, read: &Read) {
        if let Some(body) = self.limit(read) {
            self.down.push_back(Down::Read(ReadReply { token: read.token, last: true, body }));
            return;
        }
        let chat = &self.chats[&read.entity];
        let (from, limit, backward) = match read.query {
            ReadQuery::CatchUp { from, limit } => (from, limit, false),
            ReadQuery::Page { direction, from, limit } => (from, limit, direction == Direction::Backward),
            _ => panic!("this router reads events only"),
        };
        let right = chat.rights.get(&read.user).copied().unwrap_or(Right { visible_from: Seq(1), ended: None });
        let ends_at = right.ended.unwrap_or_else(|| chat.head());
        let visible = |event: &&LinkEvent| event.seq >= right.visible_from && event.seq <= ends_at;
        let visible = chat.events.iter().filter(visible).map(|event| (event.seq, event.event.clone()));
        let limit = usize::try_from(limit).unwrap();
        let events: Vec<Bytes> = if backward {
            visible.rev().filter(|(seq, _)| *seq <= from).map(|(_, event)| event).take(limit).collect()
        } else {
            visible.filter(|(seq, _)| *seq >= from).map(|(_, event)| event).take(limit).collect()
        };
        let mut parts: Vec<&[Bytes]> = events.chunks(EVENTS_A_PART).collect();
        if parts.is_empty() {
            parts.push(&[]);
        }
        let count = parts.len();
        for (index, part) in parts.into_iter().enumerate() {
            let last = index + 1 == count;
            let mut body = Writer::default();
            body.bool(last);
            body.value(&Incarnation::default());
            body.value(&right.visible_from);
            body.value(&chat.head());
            body.list(part, |body, event| body.bytes(event));
            self.down.push_back(Down::Read(ReadReply { token: read.token, last, body: Ok(body.freeze()) }));
        }
    }
}
