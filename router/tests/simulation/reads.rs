//! What edges ask owners and zombies, and what they may be told.
//!
//! An answer may be of any moment between the newest write that somebody was told of before the
//! question, and the newest that was stored when the answer came; of no earlier one, and of one moment.

use std::collections::HashMap;

use bytes::Bytes;
use panda_protocol::codec::Reader;
use panda_protocol::frame::{Admission, ChatEntry, Direction, MemberEntry};
use panda_protocol::limits::{EVENT_BYTES_MAX, PAGE_EVENTS_MAX, PAGE_ROWS_MAX};
use panda_protocol::link::{Down, Membership, Outcome, ReadQuery};
use panda_protocol::{Cursor, EntityId, ErrorCode, Incarnation, Seq, UserId};

use super::reference::Reference;
use super::support::store::MemoryStore;

#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) entity: EntityId,
    pub(crate) user: UserId,
    /// None: an admission.
    pub(crate) query: Option<ReadQuery>,
    /// The newest event that somebody was told of when it was asked.
    floor: Seq,
}

#[derive(Debug)]
enum Answer {
    Refused(ErrorCode),
    Admitted(Admission),
    Body(Bytes),
}

#[derive(Debug)]
struct Told {
    question: Question,
    answer: Answer,
    /// The newest event that was stored anywhere when it was answered.
    ceiling: Seq,
}

#[derive(Default)]
pub(crate) struct Questions {
    asked: HashMap<u64, Question>,
    told: Vec<Told>,
    /// The newest event of each entity that somebody was told of.
    seen: HashMap<EntityId, Seq>,
    /// What admissions said last, as their sessions bring it again.
    pub(crate) proofs: HashMap<(EntityId, UserId), (Cursor, Membership)>,
    /// Of which entity a command is.
    pub(crate) commands: HashMap<u64, EntityId>,
}

impl Questions {
    pub(crate) fn ask(&mut self, token: u64, entity: EntityId, user: UserId, query: Option<ReadQuery>) {
        let floor = self.seen.get(&entity).copied().unwrap_or_default();
        self.asked.insert(token, Question { entity, user, query, floor });
    }

    /// What was asked about, or was to be changed.
    pub(crate) fn entity_of(&self, token: u64) -> EntityId {
        self.asked.get(&token).map_or_else(|| self.commands[&token], |question| question.entity)
    }

    fn saw(&mut self, entity: EntityId, seq: Seq) {
        let seen = self.seen.entry(entity).or_default();
        *seen = seq.max(*seen);
    }

    pub(crate) fn take(&mut self, down: &Down, store: &MemoryStore) {
        match down {
            Down::Answer(answer) => {
                if let Outcome::Applied(seq) = answer.outcome {
                    self.saw(self.commands[&answer.token], seq);
                }
            }
            Down::Events(events) => self.saw(events.entity, events.events.last().expect("not empty").seq),
            Down::Admitted(admitted) => {
                let answer = match &admitted.outcome {
                    Ok(admission) => Answer::Admitted(admission.clone()),
                    Err(why) => Answer::Refused(why.code),
                };
                self.told(admitted.token, answer, store);
            }
            Down::Read(reply) => {
                assert!(reply.last, "what is said here fits into one part");
                let answer = match &reply.body {
                    Ok(body) => Answer::Body(body.clone()),
                    Err(why) => Answer::Refused(why.code),
                };
                self.told(reply.token, answer, store);
            }
            _ => {}
        }
    }

    fn told(&mut self, token: u64, answer: Answer, store: &MemoryStore) {
        let question = self.asked.remove(&token).expect("a question is answered once");
        let ceiling = store.highest(question.entity);
        if let Answer::Admitted(Admission { incarnation, head: at, role, visible_from, .. }) = &answer {
            let (cursor, at) = (Cursor { incarnation: *incarnation, seq: *at }, *at);
            let member = Membership { at, role: *role, visible_from: *visible_from };
            self.proofs.insert((question.entity, question.user), (cursor, member));
        }
        if let Some(head) = answer.head(&question) {
            assert!(head == Seq(0) || store.is_durable(question.entity, head), "{head} was told and is not stored");
            self.saw(question.entity, head);
        }
        self.told.push(Told { question, answer, ceiling });
    }

    /// Checks what was told since the last call; returns how many reads and how many refusals there were, and how
    /// many more because of a damage.
    pub(crate) fn check(&mut self, reference: &Reference) -> (usize, usize, usize) {
        let (mut reads, mut refusals, mut damaged) = (0, 0, 0);
        for told in self.told.drain(..) {
            reads += usize::from(matches!(told.answer, Answer::Body(_)));
            refusals += usize::from(matches!(told.answer, Answer::Refused(code) if code != ErrorCode::Damaged));
            damaged += usize::from(matches!(told.answer, Answer::Refused(ErrorCode::Damaged)));
            let history = History::of(reference, &told);
            history.check(&told);
        }
        (reads, refusals, damaged)
    }
}

impl Answer {
    /// The head that an answer speaks of, if it names one.
    fn head(&self, question: &Question) -> Option<Seq> {
        match (self, &question.query) {
            (Self::Admitted(admission), _) => Some(admission.head),
            (Self::Body(body), Some(ReadQuery::Page { .. } | ReadQuery::CatchUp { .. })) => Some(page(body).head),
            (Self::Body(body), Some(ReadQuery::Info)) => Some(info(body).head),
            (Self::Body(body), Some(ReadQuery::Chats { .. })) => Some(chats(body).0),
            _ => None,
        }
    }
}

struct Page {
    begins_at: Seq,
    head: Seq,
    events: Vec<Bytes>,
}

fn page(body: &Bytes) -> Page {
    let mut reader = Reader::new(body.clone());
    assert!(reader.bool().expect("whether it is the last"));
    reader.value::<Incarnation>().expect("an incarnation");
    Page {
        begins_at: reader.value().expect("the first visible"),
        head: reader.value().expect("the head"),
        events: reader.list(PAGE_EVENTS_MAX, 1, |reader| reader.bytes(EVENT_BYTES_MAX)).expect("events"),
    }
}

struct Info {
    name: Bytes,
    head: Seq,
    members: u64,
}

fn info(body: &Bytes) -> Info {
    let mut reader = Reader::new(body.clone());
    reader.value::<panda_protocol::event::ChatKind>().expect("a kind");
    let name = reader.bytes(EVENT_BYTES_MAX).expect("a name");
    reader.value::<Incarnation>().expect("an incarnation");
    Info { name, head: reader.value().expect("the head"), members: reader.varint().expect("a count") }
}

fn chats(body: &Bytes) -> (Seq, Vec<ChatEntry>) {
    let mut reader = Reader::new(body.clone());
    assert!(!reader.bool().expect("whether there are more"));
    let head = reader.value().expect("the inbox's head");
    (head, reader.list(PAGE_ROWS_MAX, 1, Reader::value).expect("entries"))
}

fn members(body: &Bytes) -> Vec<MemberEntry> {
    let mut reader = Reader::new(body.clone());
    assert!(!reader.bool().expect("whether there are more"));
    reader.list(PAGE_ROWS_MAX, 1, Reader::value).expect("entries")
}

/// What a single owner would have said at each moment that an answer may be of.
struct History<'a> {
    reference: &'a Reference,
    entity: EntityId,
    user: UserId,
}

impl<'a> History<'a> {
    fn of(reference: &'a Reference, told: &Told) -> Self {
        Self { reference, entity: told.question.entity, user: told.question.user }
    }

    /// From which event on the user sees the entity as of `at`; none: not at all.
    fn sees_from(&self, at: Seq) -> Option<Seq> {
        match self.entity.inbox() {
            Some(owner) => (owner == self.user).then_some(Seq(1)),
            None => self.reference.member_at(self.entity, self.user, at),
        }
    }

    /// Whether the user saw the entity at any moment up to `at`.
    fn was_seen(&self, at: Seq) -> bool {
        (1..=at.0).any(|at| self.sees_from(Seq(at)).is_some())
    }

    fn check(&self, told: &Told) {
        let Told { question, answer, ceiling } = told;
        let floor = question.floor;
        if let (Some(head), false) = (answer.head(question), matches!(question.query, Some(ReadQuery::CatchUp { .. })))
        {
            assert!(head >= floor, "{told:?} misses what was told before it was asked");
        }
        match (answer, &question.query) {
            (Answer::Refused(ErrorCode::Unavailable | ErrorCode::Damaged), _) => {}
            (Answer::Refused(ErrorCode::NotFound), _) => {
                assert!(!self.was_seen(floor), "{told:?} denies what is there");
            }
            (Answer::Refused(ErrorCode::NotMember), _) => {
                let never_in = (floor.0..=ceiling.0).all(|at| self.sees_from(Seq(at)).is_some());
                assert!(!never_in, "{told:?} refuses who was a member all the time");
                assert!(self.was_seen(*ceiling), "{told:?} tells a stranger that the chat is there");
            }
            (Answer::Admitted(admission), None) => {
                assert_eq!(self.sees_from(admission.head), Some(admission.visible_from), "{told:?}");
                if self.entity.chat().is_some() {
                    let role = self.reference.role_at(self.entity, self.user, admission.head);
                    assert_eq!(role, Some(admission.role), "{told:?}");
                }
            }
            (Answer::Body(body), Some(ReadQuery::Page { direction, from, limit })) => {
                let page = page(body);
                assert_eq!(self.sees_from(page.head), Some(page.begins_at), "{told:?}");
                self.check_events(&page, *direction, *from, *limit);
            }
            (Answer::Body(body), Some(ReadQuery::CatchUp { from, limit })) => {
                let page = page(body);
                self.check_catch_up(&page, floor, told);
                self.check_events(&page, Direction::Forward, *from, *limit);
            }
            (Answer::Body(body), Some(ReadQuery::Info)) => {
                let info = info(body);
                assert!(self.sees_from(info.head).is_some(), "{told:?}");
                assert_eq!(info.members, self.reference.members_at(self.entity, info.head), "{told:?}");
                assert_eq!(info.name, self.reference.name_at(self.entity, info.head), "{told:?}");
            }
            (Answer::Body(body), Some(ReadQuery::Members { .. })) => {
                let listed = members(body);
                for user in (0..super::world::USERS).map(super::world::user) {
                    let was_in = |at| self.reference.member_at(self.entity, user, Seq(at)).is_some();
                    let is_listed = listed.iter().any(|entry| entry.user == user);
                    assert!((floor.0..=ceiling.0).any(|at| was_in(at) == is_listed), "{user} in {told:?}");
                }
            }
            (Answer::Body(body), Some(ReadQuery::Chats { .. })) => {
                let (head, listed) = chats(body);
                for (chat, joined) in self.reference.chats_at(self.entity, *ceiling) {
                    let entry = listed.iter().find(|entry| entry.chat == chat).map(|entry| entry.joined);
                    let joined_at = |at| self.reference.chats_at(self.entity, Seq(at)).get(&chat).copied().flatten();
                    let at_some_moment = (head.0..=ceiling.0).any(|at| joined_at(at) == entry);
                    assert!(at_some_moment, "{chat} ({joined:?} at last) in {told:?}");
                }
            }
            _ => panic!("{told:?} is no answer to this"),
        }
    }

    fn check_events(&self, page: &Page, direction: Direction, from: Seq, limit: u64) {
        let events = |low: Seq, high: Seq| -> Vec<Bytes> {
            let within = self
                .reference
                .events
                .range((self.entity, low)..)
                .take_while(|((entity, seq), _)| *entity == self.entity && *seq <= high);
            within.map(|(_, (_, bytes))| bytes.clone()).collect()
        };
        let mut expected = match direction {
            Direction::Forward => events(from.max(page.begins_at), page.head),
            Direction::Backward => events(page.begins_at, from.min(page.head)).into_iter().rev().collect(),
        };
        expected.truncate(usize::try_from(limit).expect("small"));
        assert_eq!(page.events, expected, "{direction:?} from {from} to {} of {}", page.head, self.entity);
    }

    /// A member gets everything, one who was removed what came up to the removal.
    fn check_catch_up(&self, page: &Page, floor: Seq, told: &Told) {
        if self.sees_from(page.head).is_some() {
            assert!(page.head >= floor, "{told:?} misses what was told before it was asked");
            return;
        }
        assert!(self.sees_from(Seq(page.head.0 - 1)).is_some(), "{told:?} goes beyond a removal");
        let out = (page.head.0..=floor.0).all(|at| self.sees_from(Seq(at)).is_none());
        assert!(out, "{told:?} takes for removed who was a member again");
    }
}
