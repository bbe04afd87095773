//! Chats in memory, with as many rules as the API's tests need.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use panda_api::Chats;
use panda_link::CommandRefused;
use panda_protocol::event::{ChatKind, Digest, Event, EventBody, Role};
use panda_protocol::frame::{
    ChatEntry, ChatInfoReply, ChatsPage, CommandBody, Direction, ErrorDetails, MemberEntry, MembersPage, PageChunk,
    RequestId, command_digest,
};
use panda_protocol::link::{ReadQuery, Rejection};
use panda_protocol::{
    ChatId, Counter, DeviceId, EntityId, ErrorCode, Incarnation, Seq, Text, Time, TraceContext, UserId, Writer,
};

/// The chats of one test; clones share them.
#[derive(Clone, Default)]
pub(crate) struct MemoryChats {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    chats: BTreeMap<ChatId, Chat>,
    outage: Option<ErrorCode>,
    full: Vec<UserId>,
    commands: usize,
    traces: Vec<Option<TraceContext>>,
}

#[derive(Default)]
struct Chat {
    name: Text,
    direct: bool,
    events: Vec<Event>,
    members: BTreeMap<UserId, (Role, Seq)>,
    windows: HashMap<(UserId, DeviceId), Window>,
}

/// Applied commands and the first event of each.
type Window = Vec<(Counter, Digest, Seq)>;

impl MemoryChats {
    /// From now on refuses everything with this code.
    pub(crate) fn fail_with(&self, code: ErrorCode) {
        self.state.lock().unwrap().outage = Some(code);
    }

    /// From now on the user is in as many chats as a user may be.
    pub(crate) fn fill(&self, user: &str) {
        self.state.lock().unwrap().full.push(user.parse().unwrap());
    }

    /// In whose contexts commands came since this was asked last.
    pub(crate) fn take_traces(&self) -> Vec<Option<TraceContext>> {
        std::mem::take(&mut self.state.lock().unwrap().traces)
    }

    /// How many commands came, repeated ones too.
    pub(crate) fn commands(&self) -> usize {
        self.state.lock().unwrap().commands
    }

    /// How many events a chat has.
    pub(crate) fn events(&self, chat: &str) -> usize {
        self.state.lock().unwrap().chats[&chat.parse().unwrap()].events.len()
    }
}

impl Chats for MemoryChats {
    async fn command(
        &self,
        actor: UserId,
        device: DeviceId,
        entity: EntityId,
        counter: Counter,
        after: Counter,
        body: &CommandBody,
        trace: Option<TraceContext>,
    ) -> Result<Seq, CommandRefused> {
        let mut state = self.state.lock().unwrap();
        state.commands += 1;
        state.traces.push(trace);
        if let Some(code) = state.outage {
            return Err(Rejection::new(code).into());
        }
        let full: Vec<UserId> = added(actor, body).into_iter().filter(|user| state.full.contains(user)).collect();
        if !full.is_empty() {
            return Err(CommandRefused::Full(full));
        }
        let id = entity.chat().unwrap();
        let digest = digest(body);
        let existing = state.chats.get(&id);
        let window = existing.and_then(|chat| chat.windows.get(&(actor, device)));
        if let Some((_, known, seq)) = window.and_then(|window| window.iter().find(|(known, ..)| *known == counter)) {
            return if *known == digest { Ok(*seq) } else { Err(Rejection::new(ErrorCode::CounterReused).into()) };
        }
        if after != window.and_then(|window| window.last()).map_or(Counter(0), |(counter, ..)| *counter) {
            return Err(Rejection::new(ErrorCode::OutOfOrder).into());
        }
        let made = decide(id, existing, actor, device, counter, body)?;
        let chat = state.chats.entry(id).or_default();
        let first = Seq(chat.events.len() as u64 + 1);
        for (target, body) in made {
            let seq = Seq(chat.events.len() as u64 + 1);
            chat.note(target, &body, seq);
            chat.events.push(Event { seq, time: Time(seq.0), actor, device, counter, digest, target, body });
        }
        chat.windows.entry((actor, device)).or_default().push((counter, digest, first));
        Ok(first)
    }

    async fn read(&self, user: UserId, entity: EntityId, query: ReadQuery) -> Result<Vec<Bytes>, Rejection> {
        let state = self.state.lock().unwrap();
        if let Some(code) = state.outage {
            return Err(Rejection::new(code));
        }
        let Some(id) = entity.chat() else { return Ok(vec![chats_page(&state, user, &query)]) };
        let known = state.chats.get(&id).filter(|chat| chat.knows(user));
        let chat = known.ok_or(Rejection::new(ErrorCode::NotFound))?;
        let (role, _) = *chat.members.get(&user).ok_or(Rejection::new(ErrorCode::NotMember))?;
        match query {
            ReadQuery::Info => Ok(vec![chat.info(role, chat.visible_from(user))]),
            ReadQuery::Page { direction, from, limit } => {
                Ok(chat.page(direction, from, limit, chat.visible_from(user)))
            }
            ReadQuery::Members { after, limit } => Ok(vec![chat.members_page(after, limit)]),
            _ => Err(Rejection::new(ErrorCode::InvalidRequest)),
        }
    }
}

fn added(actor: UserId, body: &CommandBody) -> Vec<UserId> {
    match body {
        CommandBody::CreateGroup { members, .. } => members.iter().copied().chain([actor]).collect(),
        CommandBody::CreateDirect { peer } => vec![actor, *peer],
        CommandBody::AddMembers { members, .. } => members.clone(),
        _ => Vec::new(),
    }
}

fn digest(body: &CommandBody) -> Digest {
    let mut bytes = Writer::with_capacity(64);
    body.encode(&mut bytes);
    command_digest(&bytes.freeze())
}

type Made = Vec<(Option<UserId>, EventBody)>;

fn decide(
    id: ChatId,
    chat: Option<&Chat>,
    actor: UserId,
    device: DeviceId,
    counter: Counter,
    body: &CommandBody,
) -> Result<Made, Rejection> {
    let added_from =
        |role, member: &UserId, visible_from| (Some(*member), EventBody::MemberAdded { role, visible_from });
    let added = |role, member: &UserId| added_from(role, member, Seq(1));
    let nothing_to_do = |seq| Rejection {
        details: Some(ErrorDetails { counter: Counter(0), seq }),
        ..Rejection::new(ErrorCode::NothingToDo)
    };
    match (body, chat) {
        (CommandBody::CreateGroup { name, members }, None) => {
            assert_eq!(id, ChatId::group(actor, device, counter));
            let created = (None, EventBody::ChatCreated { kind: ChatKind::Group, name: name.clone() });
            let rest = members.iter().map(|member| added(Role::Member, member));
            Ok([created, added(Role::Owner, &actor)].into_iter().chain(rest).collect())
        }
        (CommandBody::CreateDirect { peer }, None) => {
            assert_eq!(id, ChatId::direct(actor, *peer));
            let created = (None, EventBody::ChatCreated { kind: ChatKind::Direct, name: Text::default() });
            Ok(vec![created, added(Role::Member, &actor), added(Role::Member, peer)])
        }
        (CommandBody::CreateGroup { .. } | CommandBody::CreateDirect { .. }, Some(_)) => Err(nothing_to_do(Seq(1))),
        (_, None) => Err(Rejection::new(ErrorCode::NotFound)),
        (_, Some(chat)) if !chat.knows(actor) => Err(Rejection::new(ErrorCode::NotFound)),
        (_, Some(chat)) if !chat.members.contains_key(&actor) => Err(Rejection::new(ErrorCode::NotMember)),
        (CommandBody::Send { format, text }, Some(_)) => {
            Ok(vec![(None, EventBody::MessageSent { format: *format, text: text.clone() })])
        }
        (CommandBody::AddMembers { role, with_history, members }, Some(chat)) => {
            let visible_from = if *with_history { Seq(1) } else { Seq(chat.events.len() as u64 + 1) };
            let new: Vec<_> = members
                .iter()
                .filter(|member| !chat.members.contains_key(member))
                .map(|member| added_from(*role, member, visible_from))
                .collect();
            if new.is_empty() { Err(nothing_to_do(Seq(2))) } else { Ok(new) }
        }
        (CommandBody::RemoveMembers { members }, Some(chat)) => {
            let there: Vec<_> = members
                .iter()
                .filter(|member| chat.members.contains_key(member))
                .map(|member| (Some(*member), EventBody::MemberRemoved))
                .collect();
            if there.is_empty() { Err(nothing_to_do(Seq(3))) } else { Ok(there) }
        }
        _ => Err(Rejection::new(ErrorCode::InvalidRequest)),
    }
}

impl Chat {
    fn note(&mut self, target: Option<UserId>, body: &EventBody, seq: Seq) {
        match (target, body) {
            (_, EventBody::ChatCreated { kind, name }) => {
                self.name = name.clone();
                self.direct = *kind == ChatKind::Direct;
            }
            (Some(target), EventBody::MemberAdded { role, .. }) => drop(self.members.insert(target, (*role, seq))),
            (Some(target), EventBody::MemberRemoved) => drop(self.members.remove(&target)),
            _ => {}
        }
    }

    /// Whether the user is or was a member.
    fn knows(&self, user: UserId) -> bool {
        self.events.iter().any(|event| event.target == Some(user))
    }

    /// The first event that a member may see.
    fn visible_from(&self, member: UserId) -> Seq {
        let added = self.events.iter().rev().filter(|event| event.target == Some(member));
        let mut seqs = added.filter_map(|event| match event.body {
            EventBody::MemberAdded { visible_from, .. } => Some(visible_from),
            _ => None,
        });
        seqs.next().unwrap()
    }

    fn info(&self, role: Role, visible_from: Seq) -> Bytes {
        body(&ChatInfoReply {
            request: RequestId(0),
            kind: if self.direct { ChatKind::Direct } else { ChatKind::Group },
            name: self.name.clone(),
            incarnation: Incarnation::default(),
            head: Seq(self.events.len() as u64),
            members: self.members.len() as u64,
            role,
            visible_from,
        })
    }

    /// In chunks of two events, so that replies of several parts are met.
    fn page(&self, direction: Direction, from: Seq, limit: u64, begins_at: Seq) -> Vec<Bytes> {
        let limit = usize::try_from(limit).unwrap();
        let seen = self.events.iter().filter(|event| event.seq >= begins_at);
        let events: Vec<_> = match direction {
            Direction::Forward => seen.filter(|event| event.seq >= from).take(limit).map(Event::to_bytes).collect(),
            Direction::Backward => {
                seen.rev().filter(|event| event.seq <= from).take(limit).map(Event::to_bytes).collect()
            }
        };
        let head = Seq(self.events.len() as u64);
        let chunk = |events: &[Bytes], last| {
            let events = events.to_vec();
            body(&PageChunk {
                request: RequestId(0),
                last,
                incarnation: Incarnation::default(),
                begins_at,
                head,
                events,
            })
        };
        if events.is_empty() {
            return vec![chunk(&[], true)];
        }
        let count = events.len().div_ceil(2);
        events.chunks(2).enumerate().map(|(index, events)| chunk(events, index + 1 == count)).collect()
    }

    fn members_page(&self, after: Option<UserId>, limit: u64) -> Bytes {
        let mut rest = self.members.iter().filter(|(user, _)| after.is_none_or(|after| **user > after));
        let one =
            |(user, (role, joined)): (&UserId, &(Role, Seq))| MemberEntry { user: *user, role: *role, joined: *joined };
        let members = rest.by_ref().take(usize::try_from(limit).unwrap()).map(one).collect();
        body(&MembersPage { request: RequestId(0), more: rest.next().is_some(), members })
    }
}

fn chats_page(state: &State, user: UserId, query: &ReadQuery) -> Bytes {
    let ReadQuery::Chats { after, limit } = query else { panic!("an inbox has no {query:?}") };
    let mut rest =
        state.chats.iter().filter_map(|(id, chat)| chat.members.get(&user).map(|(_, joined)| (*id, *joined)));
    let behind = |id: ChatId| after.is_none_or(|after| id > after);
    let entries = rest.by_ref().filter(|(id, _)| behind(*id)).take(usize::try_from(*limit).unwrap());
    let chats: Vec<_> = entries.map(|(chat, joined)| ChatEntry { chat, joined, read: Seq(0) }).collect();
    body(&ChatsPage { request: RequestId(0), more: rest.next().is_some(), inbox: Seq(1), chats })
}

/// A reply's body behind its request number.
fn body(reply: &impl panda_protocol::codec::Wire) -> Bytes {
    let mut frame = Writer::with_capacity(64);
    reply.encode(&mut frame);
    frame.freeze().slice(1..)
}
