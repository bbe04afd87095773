//! What clients and edges do.

use panda_protocol::codec::Writer;
use panda_protocol::event::{MessageFormat, Role};
use panda_protocol::frame::{CommandBody, Direction};
use panda_protocol::link::{Admit, CommandOrigin, CommandRecord, LinkId, Outcome, Read, ReadQuery, Record, Up};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, ErrorCode, Generation, Seq, UserId};
use panda_router::shard::Input;
use rand::Rng;

use super::super::rules::BREAKING;
use super::{EDGES, USERS, World, user};

/// The chat in which most goes on.
pub(super) fn group() -> ChatId {
    ChatId::group(user(0), device(user(0)), Counter(1))
}

fn device(user: UserId) -> DeviceId {
    DeviceId::from_random(*user.as_bytes())
}

impl World {
    pub(super) fn command(&mut self, mut command: CommandRecord) {
        self.next_token += 1;
        let link = LinkId(self.random.random_range(0..EDGES));
        command.origin = CommandOrigin { link, token: self.next_token };
        let position = self.append(&Record::Command(command.clone()));
        self.tokens.insert(self.next_token, position);
        self.questions.commands.insert(self.next_token, command.entity);
        self.sent.push((command, self.next_token));
    }

    pub(super) fn client(&mut self) {
        let actor = user(self.random.random_range(0..USERS));
        let other = user(self.random.random_range(0..USERS));
        let group = group();
        let mut entity = EntityId::from(group);
        let text =
            if self.breaks && self.random.random_bool(0.3) { BREAKING.into() } else { format!("{}", self.next_token) };
        let body = match self.random.random_range(0..20) {
            0..=1 => CommandBody::CreateGroup { name: "g".into(), members: vec![user(1), user(2)] },
            2 => {
                entity = ChatId::direct(actor, other).into();
                CommandBody::CreateDirect { peer: other }
            }
            3..=5 => CommandBody::AddMembers { role: Role::Member, with_history: false, members: vec![other, user(3)] },
            6..=8 => CommandBody::RemoveMembers { members: vec![other] },
            9 => CommandBody::SetRole { member: other, role: Role::Admin },
            10 => CommandBody::Rename { name: text.as_str().into() },
            11 => {
                entity = actor.into();
                CommandBody::SetSetting { key: "k".into(), value: text.into_bytes().into() }
            }
            12 => {
                entity = actor.into();
                CommandBody::MarkRead { chat: group, read: Seq(self.random.random_range(1..9)) }
            }
            13 => {
                entity = ChatId::direct(actor, other).into();
                CommandBody::Send { format: MessageFormat::Text, text: text.as_str().into() }
            }
            _ => CommandBody::Send { format: MessageFormat::Text, text: text.as_str().into() },
        };
        let actor = if matches!(body, CommandBody::CreateGroup { .. }) { user(0) } else { actor };
        let (highest, after) = self.senders.get(&(entity, actor)).copied().unwrap_or_default();
        let create = matches!(body, CommandBody::CreateGroup { .. });
        let (counter, after) = if create { (1, 0) } else { (highest.max(1) + 1, after) };
        // Half of the time the sender does not wait for the answer before.
        let after = if !create && highest > 1 && self.random.random_bool(0.5) { highest } else { after };
        self.senders.entry((entity, actor)).or_default().0 = counter.max(highest);
        let mut command = Writer::with_capacity(64);
        body.encode(&mut command);
        self.command(CommandRecord {
            origin: CommandOrigin { link: LinkId(0), token: 0 },
            entity,
            actor,
            device: device(actor),
            counter: Counter(counter),
            after: Counter(after),
            command: command.freeze(),
        });
    }

    /// A copy of any command comes again, over any edge.
    pub(super) fn resend(&mut self) {
        if !self.sent.is_empty() {
            let index = self.random.random_range(0..self.sent.len());
            self.command(self.sent[index].0.clone());
        }
    }

    /// Senders learn from answers how to go on.
    pub(super) fn learn(&mut self) {
        let answers: Vec<_> = self.edges.iter().flat_map(|edge| edge.answers.iter()).collect();
        let Some(answer) = answers.last() else { return };
        let Some((command, _)) = self.sent.iter().find(|(_, token)| *token == answer.token) else { return };
        let applied = match answer.outcome {
            Outcome::Applied(_) => command.counter.0,
            Outcome::Rejected(why) if why.code == ErrorCode::OutOfOrder => {
                why.details.map_or(0, |details| details.counter.0)
            }
            Outcome::Rejected(_) => return,
        };
        let believed = &mut self.senders.entry((command.entity, command.actor)).or_default().1;
        *believed = applied.max(*believed);
    }

    pub(super) fn admit(&mut self) {
        if !self.owners.is_empty() {
            let owner = self.random.random_range(0..self.owners.len());
            self.admit_by(self.owners[owner].core.generation());
        }
    }

    pub(super) fn admit_by(&mut self, term: Generation) {
        let user = user(self.random.random_range(0..USERS));
        let entity = if self.random.random_bool(0.2) { user.into() } else { group().into() };
        let edge = self.random.random_range(0..EDGES);
        self.hear(term, edge);
        self.next_token += 1;
        let token = self.next_token;
        self.edges[usize::try_from(edge).expect("small")].asked.insert(token, (entity, user));
        self.questions.ask(token, entity, user, None);
        // Most come back with what they were told before; some of them long after.
        let known = self.questions.proofs.get(&(entity, user)).copied().filter(|_| self.random.random_bool(0.7));
        let (cursor, member) = known.unzip();
        let admit = Admit { token, user, entity, cursor, member, opens: None };
        self.with_owner_of(term, |owner, _| owner.core.handle(Input::Up(LinkId(edge), Up::Admit(admit))));
    }

    /// A read, of an owner or a zombie.
    pub(super) fn question(&mut self) {
        let user = user(self.random.random_range(0..USERS));
        let mut entity = EntityId::from(group());
        let (from, limit) = (Seq(self.random.random_range(1..20)), self.random.random_range(1..8));
        let query = match self.random.random_range(0..6) {
            0 => ReadQuery::Page { direction: Direction::Forward, from, limit },
            1 => ReadQuery::Page { direction: Direction::Backward, from, limit },
            2 => ReadQuery::CatchUp { from, limit },
            3 => ReadQuery::Members { after: None, limit: 100 },
            4 => ReadQuery::Info,
            _ => {
                entity = user.into();
                ReadQuery::Chats { after: None, limit: 100 }
            }
        };
        let edge = LinkId(self.random.random_range(0..EDGES));
        self.next_token += 1;
        let token = self.next_token;
        if !self.owners.is_empty() {
            self.questions.ask(token, entity, user, Some(query.clone()));
            let read = Read { token, user, entity, query };
            self.with_owner(|owner, _| owner.core.handle(Input::Up(edge, Up::Read(read))));
        }
    }
}
