//! State rows: the fold of an entity's events, cut into rows that are stored and loaded one by one.
//!
//! A row is a function of (entity, seq) alone and carries the seq and time of the event that it
//! reflects last. It has no list that grows with the chat: a window keeps 128 commands, a head is
//! fixed apart from the name.

pub(crate) mod bytes;

use std::collections::VecDeque;

use panda_protocol::event::{ChatKind, Digest, Role};
use panda_protocol::limits::WINDOW_COMMANDS;
use panda_protocol::{ChatId, Counter, DeviceId, Position, Seq, Text, Time, UserId};

/// Names a row within its entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowId {
    /// How far the entity is, and what it is.
    Head,
    /// A member or former member of a chat.
    Member(UserId),
    /// The last applied commands of one device.
    Window(UserId, DeviceId),
    /// A chat in an inbox.
    InboxChat(ChatId),
    /// A setting in an inbox.
    Setting(Text),
}

/// A row's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The last event that it reflects.
    pub seq: Seq,
    /// That event's time, and so the time of the row's write.
    pub time: Time,
    /// What it says.
    pub value: RowValue,
}

/// What a row says, by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowValue {
    /// Of a chat.
    Chat(ChatHead),
    /// Of an inbox.
    Inbox(InboxHead),
    /// Of a member.
    Member(MemberRow),
    /// Of a device.
    Window(Window),
    /// Of a chat in an inbox.
    InboxChat(InboxChat),
    /// That a setting has a value; the value itself stays in its event.
    Setting(SettingRow),
}

/// The head of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatHead {
    /// The command that made the last event.
    pub position: Position,
    /// Group or direct.
    pub kind: ChatKind,
    /// Its name.
    pub name: Text,
    /// The event that gave it this name.
    pub named: Seq,
    /// How many members it has now.
    pub members: u32,
}

/// The head of an inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxHead {
    /// The command that made the last event.
    pub position: Position,
    /// How many chats the user is in now.
    pub chats: u32,
    /// How many settings have a value.
    pub settings: u32,
}

/// A member, or one who was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberRow {
    /// The role now, or when the membership ended.
    pub role: Role,
    /// The event that added the member last.
    pub joined: Seq,
    /// The first event that the member may see.
    pub visible_from: Seq,
    /// The event that removed the member; kept for ever.
    pub ended: Option<Seq>,
}

/// The last applied commands of one (entity, user, device), rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// At most [`WINDOW_COMMANDS`].
    pub applied: VecDeque<AppliedCommand>,
}

/// One applied command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedCommand {
    /// Its counter.
    pub counter: Counter,
    /// The first event that it made.
    pub seq: Seq,
    /// The digest of its body.
    pub digest: Digest,
}

/// A chat in an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxChat {
    /// The highest event of that chat whose effect was taken.
    pub source: Seq,
    /// The event of the chat that made the user a member; absent: not a member now.
    pub joined: Option<Seq>,
    /// The user has read up to here.
    pub read: Seq,
}

/// A setting in an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// Whether it has a value.
    pub set: bool,
}

impl Window {
    /// The command applied last.
    pub fn last(&self) -> Option<&AppliedCommand> {
        self.applied.back()
    }

    /// The command of this counter, if it is still remembered.
    pub fn find(&self, counter: Counter) -> Option<&AppliedCommand> {
        let index = self.applied.binary_search_by_key(&counter, |known| known.counter).ok()?;
        self.applied.get(index)
    }

    /// Notes an event of a command; of a command with several events, the first counts.
    pub fn note(&mut self, command: AppliedCommand) {
        if self.last().is_some_and(|last| last.counter == command.counter) {
            return;
        }
        if self.applied.len() == WINDOW_COMMANDS {
            self.applied.pop_front();
        }
        self.applied.push_back(command);
    }
}

/// The rows that a fold reads and changes. A row that is not there was never written: the caller has
/// loaded every row that [`crate::fold::needs`] or [`crate::fold::touches`] named.
pub trait Rows {
    /// A row.
    fn row(&self, id: &RowId) -> Option<&Row>;
    /// Takes a row out, for whoever puts its successor in at once: a window is too large to be copied for each command.
    fn take_row(&mut self, id: &RowId) -> Option<Row>;
    /// Replaces a row.
    fn set_row(&mut self, id: RowId, row: Row);

    /// The head's seq, time and position; zeros for an entity without events.
    fn head_stamp(&self) -> (Seq, Time, Position) {
        self.row(&RowId::Head).map_or_else(Default::default, |row| {
            let position = match &row.value {
                RowValue::Chat(head) => head.position,
                RowValue::Inbox(head) => head.position,
                _ => Position::default(),
            };
            (row.seq, row.time, position)
        })
    }

    /// The chat's head.
    fn chat_head(&self) -> Option<&ChatHead> {
        match &self.row(&RowId::Head)?.value {
            RowValue::Chat(head) => Some(head),
            _ => None,
        }
    }

    /// The inbox's head.
    fn inbox_head(&self) -> Option<&InboxHead> {
        match &self.row(&RowId::Head)?.value {
            RowValue::Inbox(head) => Some(head),
            _ => None,
        }
    }

    /// A member, or one who was.
    fn member(&self, user: UserId) -> Option<&MemberRow> {
        match &self.row(&RowId::Member(user))?.value {
            RowValue::Member(member) => Some(member),
            _ => None,
        }
    }

    /// A device's window.
    fn window(&self, user: UserId, device: DeviceId) -> Option<&Window> {
        match &self.row(&RowId::Window(user, device))?.value {
            RowValue::Window(window) => Some(window),
            _ => None,
        }
    }

    /// A chat in an inbox.
    fn inbox_chat(&self, chat: ChatId) -> Option<&InboxChat> {
        match &self.row(&RowId::InboxChat(chat))?.value {
            RowValue::InboxChat(entry) => Some(entry),
            _ => None,
        }
    }
}

impl Rows for std::collections::HashMap<RowId, Row> {
    fn row(&self, id: &RowId) -> Option<&Row> {
        self.get(id)
    }
    fn take_row(&mut self, id: &RowId) -> Option<Row> {
        self.remove(id)
    }
    fn set_row(&mut self, id: RowId, row: Row) {
        self.insert(id, row);
    }
}
