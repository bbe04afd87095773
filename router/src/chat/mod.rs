//! Chats: who is in them, what is said. Pure; see [`crate::fold`].

mod create;
mod members;
mod messages;

use panda_protocol::codec::Reader;
use panda_protocol::event::{ChatKind, Event, EventBody, Role};
use panda_protocol::frame::{CommandBody, command_digest};
use panda_protocol::link::CommandRecord;
use panda_protocol::{ChatId, EntityId, ErrorCode, Position, Time, UserId};

use crate::fold::{Decision, Numbering, change};
use crate::rows::{ChatHead, MemberRow, RowId, RowValue, Rows};

/// A command of a chat while it is decided.
struct Deciding<'a> {
    rows: &'a dyn Rows,
    command: &'a CommandRecord,
    numbering: Numbering,
    events: Vec<Event>,
}

impl<'a> Deciding<'a> {
    fn push(&mut self, target: Option<UserId>, body: EventBody) {
        let (seq, time) = self.numbering.next();
        self.events.push(Event {
            seq,
            time,
            actor: self.command.actor,
            device: self.command.device,
            counter: self.command.counter,
            digest: command_digest(&self.command.command),
            target,
            body,
        });
    }

    /// The chat, for who is or was a member.
    fn head(&self) -> Result<&'a ChatHead, Decision> {
        let (head, _) = known_to(self.rows, self.command.actor)?;
        Ok(head)
    }

    /// A group: commands that change who is in it are refused to direct chats.
    fn group(&self) -> Result<&'a ChatHead, Decision> {
        let head = self.head()?;
        if head.kind == ChatKind::Direct { Err(ErrorCode::Forbidden.into()) } else { Ok(head) }
    }

    /// The actor's role, if it is at least `least`.
    fn role(&self, least: Role) -> Result<Role, Decision> {
        let member = live_member(self.rows, self.command.actor).ok_or(ErrorCode::NotMember)?;
        if member.role < least { Err(ErrorCode::Forbidden.into()) } else { Ok(member.role) }
    }
}

/// The chat and what it knows of a user. For who never was a member it does not exist: the identifier of a direct
/// chat follows from its two users, and nobody else is to learn whether they have one.
pub(crate) fn known_to(rows: &dyn Rows, user: UserId) -> Result<(&ChatHead, &MemberRow), ErrorCode> {
    rows.chat_head().zip(rows.member(user)).ok_or(ErrorCode::NotFound)
}

/// A member whose membership has not ended.
pub(crate) fn live_member(rows: &dyn Rows, user: UserId) -> Option<&MemberRow> {
    rows.member(user).filter(|member| member.ended.is_none())
}

fn decode(command: &CommandRecord) -> Result<CommandBody, Decision> {
    CommandBody::decode(&mut Reader::new(command.command.clone())).map_err(|_| ErrorCode::InvalidRequest.into())
}

pub(crate) fn needs(command: &CommandRecord, rows: &mut Vec<RowId>) {
    let mut named = vec![command.actor];
    match decode(command) {
        Ok(CommandBody::AddMembers { members, .. } | CommandBody::RemoveMembers { members }) => named.extend(members),
        Ok(CommandBody::SetRole { member, .. }) => named.push(member),
        _ => {}
    }
    named.sort_unstable();
    named.dedup();
    rows.extend(named.into_iter().map(RowId::Member));
}

pub(crate) fn apply(rows: &dyn Rows, command: &CommandRecord, log_time: Time) -> Result<Vec<Event>, Decision> {
    let mut deciding = Deciding { rows, command, numbering: Numbering::behind(rows, log_time), events: Vec::new() };
    match decode(command)? {
        CommandBody::Send { format, text } => messages::send(&mut deciding, format, text)?,
        CommandBody::CreateGroup { name, members } => create::group(&mut deciding, name, members)?,
        CommandBody::CreateDirect { peer } => create::direct(&mut deciding, peer)?,
        CommandBody::AddMembers { role, with_history, members } => {
            members::add(&mut deciding, role, with_history, members)?
        }
        CommandBody::RemoveMembers { members } => members::remove(&mut deciding, members)?,
        CommandBody::SetRole { member, role } => members::set_role(&mut deciding, member, role)?,
        CommandBody::Rename { name } => messages::rename(&mut deciding, name)?,
        CommandBody::MarkRead { .. } | CommandBody::SetSetting { .. } => return Err(ErrorCode::InvalidRequest.into()),
    }
    Ok(deciding.events)
}

pub(crate) fn advance(rows: &mut impl Rows, event: &Event, position: Position) {
    if let Some(target) = event.target {
        change(rows, RowId::Member(target), event, |old| members::advance(old, event));
    }
    change(rows, RowId::Head, event, |old| {
        let mut head = match old {
            Some(RowValue::Chat(head)) => head,
            _ => ChatHead { position, kind: ChatKind::Group, name: Default::default(), named: event.seq, members: 0 },
        };
        head.position = position;
        match &event.body {
            EventBody::ChatCreated { kind, name } => {
                head.kind = *kind;
                head.name = name.clone();
                head.named = event.seq;
            }
            EventBody::ChatRenamed { name } => {
                head.name = name.clone();
                head.named = event.seq;
            }
            EventBody::MemberAdded { .. } => head.members += 1,
            EventBody::MemberRemoved => head.members = head.members.saturating_sub(1),
            _ => {}
        }
        RowValue::Chat(head)
    });
}

/// The chat that an entity is, for commands that must name it rightly.
fn chat_of(entity: EntityId) -> Result<ChatId, Decision> {
    entity.chat().ok_or_else(|| ErrorCode::InvalidRequest.into())
}
