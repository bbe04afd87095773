//! Questions of edges: admissions, reads, and what became of a command.
//!
//! A question waits until the shard has taken in everything that was in the log when it was asked,
//! then for its turn in its entity's queue. It is decided from the rows as they are then, and
//! answered once all that these rows are built on is durable. So an answer never shows less than was
//! acked before it was asked, and never more than is stored.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use panda_protocol::frame::{Admission, Direction};
use panda_protocol::limits::PAGE_ROWS_MAX;
use panda_protocol::link::{Admit, Admitted, Down, LinkId, Read, ReadQuery, ReadReply, Rejection};
use panda_protocol::{EntityId, ErrorCode, Incarnation, Position, Seq};
use panda_storage::{EventRow, ReadOrder};

use super::ask::{Ask, Asking};
use super::entity::{Entity, Pending};
use super::standing::Standing;
use super::{Output, Shard};
use crate::replies::{self, PageRight};
use crate::rows::bytes::kind as rows_kind;
use crate::rows::{Row, RowId};

/// What an edge asks.
#[derive(Debug)]
pub(super) enum Question {
    Admit(Admit),
    Read(Read),
    Ask(Ask),
}

/// What the rows said when it was the question's turn.
#[derive(Debug)]
pub(super) enum Decided {
    Admission(Result<Admission, Rejection>),
    Page(Result<PageRight, Rejection>),
    Rows(Result<(), Rejection>),
    /// The whole of the reply.
    Body(Result<Bytes, Rejection>),
    /// It is looked up when the answer may leave.
    Later,
    /// What is stored cannot be read.
    Damaged,
}

/// Questions that wait for the log.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Came after the question to the log was asked: it must be asked again for them.
    unasked: Vec<(LinkId, Question)>,
    /// The question to the log in flight will answer for these.
    asked: Option<Vec<(LinkId, Question)>>,
    /// Wait until the shard has taken in what stands before the position.
    until: VecDeque<(Position, Vec<(LinkId, Question)>)>,
    count: usize,
}

/// A read of the store under way.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) entity: EntityId,
    pub(super) link: LinkId,
    pub(super) token: u64,
    pub(super) what: ReadingWhat,
}

#[derive(Debug)]
pub(super) enum ReadingWhat {
    Page(PageRight),
    Ask(Asking),
    Listing(Listing),
}

/// Rows as of a head or later: those that were not stored when the listing began lie over those that
/// the store gives, because they may be stored, and be forgotten here, between two reads of it.
#[derive(Debug)]
pub(super) struct Listing {
    kind: u8,
    limit: usize,
    head: Seq,
    unstored: BTreeMap<Bytes, (RowId, Row)>,
    found: BTreeMap<Bytes, (RowId, Row)>,
}

impl Listing {
    /// Takes what a scan gave. Returns behind which key to scan on, if that is needed.
    fn take(&mut self, rows: Vec<(RowId, Row)>) -> Option<Bytes> {
        let last = rows.last().filter(|_| rows.len() >= replies::SCAN_ROWS).map(|(id, _)| id.key().key);
        self.found.extend(rows.into_iter().map(|(id, row)| (id.key().key, (id, row))));
        let within = match &last {
            Some(last) => {
                let behind = self.unstored.split_off(last);
                let mut within = std::mem::replace(&mut self.unstored, behind);
                within.extend(self.unstored.remove_entry(last));
                within
            }
            None => std::mem::take(&mut self.unstored),
        };
        for (key, (id, row)) in within {
            if self.found.get(&key).is_none_or(|(_, stored)| stored.seq < row.seq) {
                self.found.insert(key, (id, row));
            }
        }
        self.found.retain(|_, (_, row)| replies::is_listed(row));
        last.filter(|_| self.found.len() <= self.limit)
    }
}

impl Waiting {
    pub(super) fn drop_link(&mut self, link: LinkId) {
        let lists = self.until.iter_mut().map(|(_, questions)| questions);
        for questions in lists.chain(&mut self.asked).chain(std::iter::once(&mut self.unasked)) {
            let before = questions.len();
            questions.retain(|(of, _)| *of != link);
            self.count -= before - questions.len();
        }
    }
}

impl Question {
    fn token(&self) -> u64 {
        match self {
            Self::Admit(admit) => admit.token,
            Self::Read(read) => read.token,
            Self::Ask(ask) => ask.token,
        }
    }

    fn entity(&self) -> EntityId {
        match self {
            Self::Admit(admit) => admit.entity,
            Self::Read(read) => read.entity,
            Self::Ask(ask) => ask.entity,
        }
    }

    pub(super) fn needs(&self) -> Vec<RowId> {
        match self {
            Self::Read(Read { user, query: ReadQuery::Joining { device, users, .. }, .. }) => {
                let others = users.iter().copied().filter(|other| other != user).map(RowId::Member);
                let rows = [RowId::Head, RowId::Window(*user, *device), RowId::Member(*user)];
                rows.into_iter().chain(others).collect()
            }
            Self::Admit(Admit { entity, user, .. }) | Self::Read(Read { entity, user, .. })
                if entity.inbox().is_none() =>
            {
                vec![RowId::Head, RowId::Member(*user)]
            }
            _ => vec![RowId::Head],
        }
    }

    /// The admission that needs no row of its user: to the own inbox, or by a proof that the user was a member behind
    /// an event behind which nobody lost a right or a role. The proof is of the cursor's incarnation, in which
    /// other events have these numbers than in this one if it is another.
    pub(super) fn proven(&self, standing: Standing, incarnation: Incarnation) -> Option<Admission> {
        let Self::Admit(Admit { entity, user, cursor, member, .. }) = self else { return None };
        let right = if entity.inbox() == Some(*user) {
            replies::OWN_INBOX
        } else {
            cursor.filter(|cursor| cursor.incarnation == incarnation)?;
            let member = member.filter(|member| (standing.rights..=standing.head).contains(&member.at))?;
            (member.role, member.visible_from)
        };
        Some(replies::admitted(standing.head, right, *cursor, incarnation))
    }

    pub(super) fn decide(&self, rows: &Entity, incarnation: Incarnation) -> Decided {
        match self {
            Self::Ask(_) => Decided::Later,
            Self::Admit(Admit { entity, user, cursor, .. }) => {
                Decided::Admission(replies::admission(rows, *entity, *user, *cursor, incarnation))
            }
            &Self::Read(Read { entity, user, ref query, .. }) => match query {
                ReadQuery::Page { direction, from, limit } => {
                    Decided::Page(replies::page_right(rows, entity, user, *direction, *from, *limit, false))
                }
                ReadQuery::CatchUp { from, limit } => {
                    Decided::Page(replies::page_right(rows, entity, user, Direction::Forward, *from, *limit, true))
                }
                ReadQuery::Members { .. } => Decided::Rows(replies::may_list_members(rows, entity, user)),
                ReadQuery::Chats { .. } => Decided::Rows(replies::may_list_chats(entity, user)),
                ReadQuery::Info => Decided::Body(replies::chat_info(rows, entity, user, incarnation)),
                ReadQuery::ChatCount => Decided::Body(replies::chat_count(rows, entity)),
                ReadQuery::Joining { device, counter, users } => {
                    Decided::Body(replies::joining(rows, entity, (user, *device, *counter), users))
                }
            },
        }
    }
}

impl Shard {
    /// A question came: it waits for the log's end as of now.
    pub(super) fn question(&mut self, link: LinkId, question: Question) {
        if self.waiting.count + self.reading.len() + self.asks.len() >= self.limits.reads_max {
            let rejection = Rejection { retry_after_ms: 500, ..Rejection::new(ErrorCode::Unavailable) };
            self.refuse_question(link, &question, rejection);
            return;
        }
        self.waiting.count += 1;
        self.waiting.unasked.push((link, question));
        self.ask_end(false);
    }

    /// One question to the log is in flight, for all that wait for it; `alone`: also if none does.
    pub(super) fn ask_end(&mut self, alone: bool) {
        if self.waiting.asked.is_none() && (alone || !self.waiting.unasked.is_empty()) {
            self.waiting.asked = Some(std::mem::take(&mut self.waiting.unasked));
            self.log_asked();
            self.outputs.push(Output::AskEnd);
        }
    }

    /// The log ended here after the question was put.
    pub(super) fn log_ended(&mut self, position: Position) {
        if let Some(questions) = self.waiting.asked.take().filter(|questions| !questions.is_empty()) {
            self.waiting.until.push_back((position, questions));
        }
        self.ask_end(false);
        self.admit_waiting_reads();
    }

    /// Gives questions whose moment of the log was reached their place in the queues.
    pub(super) fn admit_waiting_reads(&mut self) {
        while self.waiting.until.front().is_some_and(|(position, _)| *position <= self.progress.taken()) {
            let Some((end, questions)) = self.waiting.until.pop_front() else { return };
            self.waiting.count -= questions.len();
            for (link, question) in questions {
                if let Question::Ask(ask) = &question
                    && !ask.is_within(end)
                {
                    self.answer_unknown(link, ask.token);
                    continue;
                }
                self.enqueue(question.entity(), Pending::Question { link, question });
            }
        }
    }

    pub(super) fn refuse_question(&mut self, link: LinkId, question: &Question, rejection: Rejection) {
        let token = question.token();
        let down = match question {
            Question::Admit(_) => {
                let (generation, entity) = (self.generation, question.entity());
                Down::Admitted(Admitted { token, generation, entity, outcome: Err(rejection) })
            }
            Question::Read(_) => Down::Read(ReadReply { token, last: true, body: Err(rejection) }),
            Question::Ask(_) => return self.answer_unknown(link, token),
        };
        self.outputs.push(Output::Send(link, down));
    }

    /// Everything that the decision is built on is durable: answer.
    pub(super) fn answer_question(&mut self, id: EntityId, link: LinkId, question: Question, decided: Decided) {
        let token = question.token();
        // Those who listened when the damage was met were told; who was admitted before and is told only now
        // would listen on, and nobody would tell of what is held.
        let untold = matches!(question, Question::Admit(_)) && self.damages.contains(id);
        match (question, decided) {
            (question, _) if untold => self.refuse_damaged(link, &question),
            (question, Decided::Damaged) => self.refuse_damaged(link, &question),
            (Question::Ask(ask), _) => self.look_up(link, ask),
            (Question::Admit(admit), Decided::Admission(outcome)) => {
                let mut passed = false;
                let outcome = outcome.and_then(|admission| {
                    let interest = self.interests.listen(link, id, self.limits.interests_max);
                    let interest = interest
                        .ok_or(Rejection { retry_after_ms: 1_000, ..Rejection::new(ErrorCode::Unavailable) })?;
                    // Where nothing was asked of the store, a load may have passed this admission while it was held: who
                    // listened was told a later head, and this one would be listed behind that and wait for nothing.
                    passed = interest.told > admission.head;
                    interest.told = interest.told.max(admission.head);
                    Ok(admission)
                });
                let opens = admit.opens.filter(|_| outcome.is_ok());
                let admitted = Admitted { token, generation: self.generation, entity: id, outcome };
                self.outputs.push(Output::Send(link, Down::Admitted(admitted)));
                if passed {
                    self.tell_readmit(link, id);
                }
                if let (Some(opens), Some(user)) = (opens, id.inbox()) {
                    self.open(link, user, opens);
                }
            }
            (_, Decided::Page(Ok(right))) => self.page(id, link, token, right),
            (_, Decided::Body(Ok(body))) => self.reply(link, token, vec![body]),
            (Question::Read(Read { query: ReadQuery::Members { after, limit }, .. }), Decided::Rows(Ok(()))) => {
                self.list(
                    id,
                    link,
                    token,
                    rows_kind::MEMBER,
                    after.map(|user| Bytes::copy_from_slice(user.as_bytes())),
                    limit,
                );
            }
            (Question::Read(Read { query: ReadQuery::Chats { after, limit }, .. }), Decided::Rows(Ok(()))) => {
                self.list(
                    id,
                    link,
                    token,
                    rows_kind::INBOX_CHAT,
                    after.map(|chat| Bytes::copy_from_slice(chat.as_bytes())),
                    limit,
                );
            }
            (
                question,
                Decided::Page(Err(rejection)) | Decided::Body(Err(rejection)) | Decided::Rows(Err(rejection)),
            ) => {
                self.refuse_question(link, &question, rejection);
            }
            (question, _) => self.refuse_question(link, &question, Rejection::new(ErrorCode::InvalidRequest)),
        }
    }

    /// From the ring if it reaches that far, otherwise from the store.
    fn page(&mut self, id: EntityId, link: LinkId, token: u64, right: PageRight) {
        let Some((from, order, limit)) = right.start() else {
            self.reply(link, token, replies::page_chunks(&right, self.incarnation, Vec::new()));
            return;
        };
        let ring = self.entities.get(&id).map(|entity| &entity.ring);
        if let (Some(ring), ReadOrder::Forward) = (ring, order)
            && ring.front().is_some_and(|oldest| oldest.seq <= from)
        {
            let events = ring
                .iter()
                .skip_while(|stored| stored.seq < from)
                .take(limit)
                .map(|stored| (stored.seq, stored.bytes.clone()));
            let chunks = replies::page_chunks(&right, self.incarnation, events.collect());
            self.reply(link, token, chunks);
            return;
        }
        let read = self.start_reading(Reading { entity: id, link, token, what: ReadingWhat::Page(right) });
        self.outputs.push(Output::ReadEvents { read, entity: id, from, order, limit });
    }

    pub(super) fn start_reading(&mut self, reading: Reading) -> u64 {
        self.next_read += 1;
        self.figures.question_reads += 1;
        self.reading.insert(self.next_read, reading);
        self.next_read
    }

    fn list(&mut self, entity: EntityId, link: LinkId, token: u64, kind: u8, after: Option<Bytes>, limit: u64) {
        let memory = self.entities.get(&entity);
        let listing = Listing {
            kind,
            limit: rows_limit(limit),
            head: memory.map_or(Seq(0), |memory| memory.released.0),
            unstored: memory
                .into_iter()
                .flat_map(|memory| &memory.dirty)
                .map(|(id, row)| (id.key(), (id.clone(), row.clone())))
                .filter(|(key, _)| key.kind == kind && after.as_ref().is_none_or(|after| key.key > *after))
                .map(|(key, row)| (key.key, row))
                .collect(),
            found: BTreeMap::new(),
        };
        let what = ReadingWhat::Listing(listing);
        let read = self.start_reading(Reading { entity, link, token, what });
        self.outputs.push(Output::ScanRows { read, entity, kind, after });
    }

    pub(super) fn events_read(&mut self, read: u64, events: Vec<EventRow>) {
        let Some(Reading { entity, link, token, what }) = self.reading.remove(&read) else { return };
        match what {
            ReadingWhat::Page(right) => {
                let events = events.into_iter().map(|row| (row.seq, row.event)).collect();
                self.reply(link, token, replies::page_chunks(&right, self.incarnation, events));
            }
            ReadingWhat::Ask(asking) => self.asked_read(entity, link, token, asking, Some(&events)),
            // Rows were asked for.
            ReadingWhat::Listing(_) => {}
        }
    }

    pub(super) fn read_failed(&mut self, read: u64) {
        self.end_reading(read, Rejection { retry_after_ms: 1_000, ..Rejection::new(ErrorCode::Unavailable) });
    }

    /// A read brought nothing.
    pub(super) fn end_reading(&mut self, read: u64, rejection: Rejection) {
        if let Some(Reading { entity, link, token, what }) = self.reading.remove(&read) {
            if let ReadingWhat::Ask(asking) = what {
                return self.asked_read(entity, link, token, asking, None);
            }
            self.outputs.push(Output::Send(link, Down::Read(ReadReply { token, last: true, body: Err(rejection) })));
        }
    }

    /// Stored rows, overlaid with those that were released and not stored when the listing began.
    pub(super) fn rows_scanned(&mut self, read: u64, rows: Vec<(RowId, Row)>) {
        let Some(mut reading) = self.reading.remove(&read) else { return };
        let ReadingWhat::Listing(listing) = &mut reading.what else { return };
        if let Some(after) = listing.take(rows) {
            let (entity, kind) = (reading.entity, listing.kind);
            let read = self.start_reading(reading);
            self.outputs.push(Output::ScanRows { read, entity, kind, after: Some(after) });
            return;
        }
        let found: Vec<(RowId, Row)> = std::mem::take(&mut listing.found).into_values().collect();
        let body = if listing.kind == rows_kind::MEMBER {
            replies::members_page(found, listing.limit)
        } else {
            replies::chats_page(found, listing.limit, listing.head)
        };
        self.reply(reading.link, reading.token, vec![body]);
    }

    fn reply(&mut self, link: LinkId, token: u64, bodies: Vec<Bytes>) {
        let count = bodies.len();
        for (index, body) in bodies.into_iter().enumerate() {
            let reply = ReadReply { token, last: index + 1 == count, body: Ok(body) };
            self.outputs.push(Output::Send(link, Down::Read(reply)));
        }
    }
}

fn rows_limit(limit: u64) -> usize {
    usize::try_from(limit).unwrap_or(PAGE_ROWS_MAX).clamp(1, PAGE_ROWS_MAX)
}

const _: () = assert!(replies::SCAN_ROWS >= PAGE_ROWS_MAX);
