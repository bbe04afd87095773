//! The chats that the person is in, by the names that are shown.

use std::collections::BTreeMap;
use std::time::Duration;

use panda_protocol::event::{Event, EventBody};
use panda_protocol::{ChatId, Seq, UserId};

use super::names::Called;
use super::timeline::Timeline;

/// How long somebody is shown as typing after the last signal, as `SPEC.md` says.
const TYPING_SHOWN: Duration = Duration::from_secs(6);
/// People who are shown as typing in one chat.
const TYPING_MAX: usize = 16;

/// Events of one chat that wait for the answer that lets the person in; beyond, they begin anew, and what is missing is
/// loaded by scrolling up.
const EARLY_EVENTS_MAX: usize = 1024;

/// One chat.
#[derive(Debug)]
pub(in crate::chat) struct Room {
    pub(in crate::chat) id: ChatId,
    /// What is shown of what it is called: no other chat has it.
    pub(in crate::chat) name: String,
    pub(super) called: Called,
    /// The last event there is.
    pub(in crate::chat) head: Seq,
    /// The last event that the person has read, on whatever device.
    pub(in crate::chat) read: Seq,
    /// The first event that the person may see.
    pub(in crate::chat) visible_from: Seq,
    pub(in crate::chat) timeline: Timeline,
    /// What was unread when the chat was opened, or came while nobody looked: behind the first seq, up to the second.
    pub(in crate::chat) missed: Option<(Seq, Seq)>,
    /// Who is typing, and until when that is shown.
    typing: Vec<(UserId, Duration)>,
    /// The person is let in and gets the events.
    pub(super) is_entered: bool,
    /// What came last in it is loaded, as far as that is possible.
    pub(super) is_settled: bool,
    /// Events that came before the answer that lets the person in.
    early: Vec<Event>,
    /// A MarkRead is on its way.
    pub(super) is_marking: bool,
    /// No MarkRead before this moment.
    pub(super) mark_at: Duration,
}

impl Room {
    fn new(id: ChatId) -> Self {
        Self {
            id,
            name: String::new(),
            called: Called::default(),
            head: Seq(0),
            read: Seq(0),
            visible_from: Seq(1),
            timeline: Timeline::default(),
            missed: None,
            typing: Vec::new(),
            is_entered: false,
            is_settled: false,
            early: Vec::new(),
            is_marking: false,
            mark_at: Duration::ZERO,
        }
    }

    /// How many messages of others are unread among those that are kept, and whether there may be more.
    pub(super) fn unread(&self, me: UserId) -> (usize, bool) {
        let unread = |event: &&Event| {
            event.seq > self.read && event.actor != me && matches!(event.body, EventBody::MessageSent { .. })
        };
        let count = self.timeline.events().rev().take_while(|event| event.seq > self.read).filter(unread).count();
        (
            count,
            count > 0 && self.timeline.ends().is_some_and(|(oldest, _)| oldest.0 > self.read.0 + 1) && self.has_older(),
        )
    }

    /// Whether there is history that is not loaded.
    pub(in crate::chat) fn has_older(&self) -> bool {
        self.timeline.ends().map_or(self.head >= self.visible_from, |(oldest, _)| oldest > self.visible_from)
    }

    /// When something last happened, as far as it is loaded.
    pub(in crate::chat) fn last_event(&self) -> Option<&Event> {
        self.timeline.events().next_back()
    }

    /// An event came before the answer that lets the person in.
    pub(super) fn came_early(&mut self, event: Event) {
        if self.early.len() >= EARLY_EVENTS_MAX {
            self.early.clear();
        }
        self.early.push(event);
    }

    /// Those that came early.
    pub(super) fn take_early(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.early)
    }

    pub(super) fn typing(&mut self, user: UserId, now: Duration) {
        self.typing.retain(|(who, until)| *who != user && *until > now);
        if self.typing.len() < TYPING_MAX {
            self.typing.push((user, now + TYPING_SHOWN));
        }
    }

    pub(super) fn typing_stopped(&mut self, user: UserId) {
        self.typing.retain(|(who, _)| *who != user);
    }

    /// Who is typing now.
    pub(in crate::chat) fn typists(&self, now: Duration) -> impl Iterator<Item = UserId> {
        self.typing.iter().filter(move |(_, until)| *until > now).map(|(who, _)| *who)
    }

    /// When somebody is no longer shown as typing.
    pub(super) fn typing_ends(&self, now: Duration) -> Option<Duration> {
        self.typing.iter().map(|(_, until)| *until).filter(|until| *until > now).min()
    }
}

/// All of them, and the one that is open.
#[derive(Debug, Default)]
pub(in crate::chat) struct Rooms {
    pub(super) rooms: BTreeMap<ChatId, Room>,
    open: Option<ChatId>,
    /// Those that typed lines made and that are not entered yet, by the numbers of the lines.
    made: BTreeMap<u64, ChatId>,
    /// Those that the person is in and that cannot be opened, and why: what they are called is not known.
    pub(super) shut: BTreeMap<ChatId, String>,
}

impl Rooms {
    /// The person is about to be let in. Returns whether that is to be asked for.
    pub(super) fn expect(&mut self, id: ChatId) -> bool {
        let is_new = !self.rooms.contains_key(&id);
        self.shut.remove(&id);
        self.rooms.entry(id).or_insert_with(|| Room::new(id));
        is_new
    }

    /// The person is in a chat. Returns whether it is new here.
    pub(super) fn enter(&mut self, id: ChatId, called: Called, head: Seq) -> bool {
        let room = self.rooms.entry(id).or_insert_with(|| Room::new(id));
        let is_new = !room.is_entered;
        self.shut.remove(&id);
        room.is_entered = true;
        room.head = room.head.max(head);
        self.call(id, called);
        is_new
    }

    /// It is called so from now on.
    pub(super) fn call(&mut self, id: ChatId, called: Called) {
        let Some(room) = self.rooms.get_mut(&id) else { return };
        let label = called.label.clone();
        let before = std::mem::replace(&mut room.called, called).label;
        if before != label {
            self.tell_apart(&before);
        }
        self.tell_apart(&label);
    }

    /// Whether what came last is yet to be known of one of them.
    pub(super) fn awaits_any(&self) -> bool {
        self.rooms.values().any(|room| !room.is_settled)
    }

    /// Whether it is yet to be known of one of them what it is called.
    pub(super) fn awaits_name(&self) -> bool {
        self.rooms.values().any(|room| !room.is_entered)
    }

    /// Letting the person in failed; it may be asked for again.
    pub(super) fn forget_expected(&mut self, id: ChatId) {
        if self.rooms.get(&id).is_some_and(|room| !room.is_entered) {
            self.rooms.remove(&id);
        }
    }

    /// The person is no longer in it. Returns the name that it had, if it was entered.
    pub(super) fn leave(&mut self, id: ChatId) -> Option<String> {
        if self.open == Some(id) {
            self.open = None;
        }
        self.shut.remove(&id);
        let left = self.rooms.remove(&id).filter(|room| room.is_entered)?;
        self.tell_apart(&left.called.label);
        Some(left.name)
    }

    /// It cannot be opened.
    pub(super) fn shut(&mut self, id: ChatId, why: String) {
        self.shut.insert(id, why);
    }

    pub(in crate::chat) fn room(&self, id: ChatId) -> Option<&Room> {
        self.rooms.get(&id)
    }

    pub(super) fn room_mut(&mut self, id: ChatId) -> Option<&mut Room> {
        self.rooms.get_mut(&id)
    }

    /// Those that the person is in.
    pub(in crate::chat) fn all(&self) -> impl Iterator<Item = &Room> {
        self.rooms.values().filter(|room| room.is_entered)
    }

    /// Those that the person is in, the one in which something happened last first.
    pub(in crate::chat) fn by_activity(&self) -> Vec<&Room> {
        let mut rooms: Vec<&Room> = self.all().collect();
        rooms.sort_by_key(|room| std::cmp::Reverse(room.last_event().map(|event| event.time)));
        rooms
    }

    /// The chat that text goes to.
    pub(in crate::chat) const fn open_id(&self) -> Option<ChatId> {
        self.open
    }

    /// The chat that text goes to.
    pub(in crate::chat) fn open_room(&self) -> Option<&Room> {
        self.room(self.open?)
    }

    /// Opens a chat; the one that was open is kept short from then on.
    pub(super) fn open(&mut self, id: ChatId) {
        if self.open == Some(id) || !self.rooms.contains_key(&id) {
            return;
        }
        if let Some(room) = self.open.and_then(|before| self.rooms.get_mut(&before)) {
            room.missed = None;
            room.timeline.shrink();
        }
        if let Some(room) = self.rooms.get_mut(&id) {
            room.missed = (room.head > room.read).then_some((room.read, room.head));
            self.open = Some(id);
        }
    }

    /// This line made a chat that the person is not in yet.
    pub(super) fn made_by(&mut self, line: u64, id: ChatId) {
        self.made.insert(line, id);
    }

    /// The lines that made a chat and wait for it; they wait no longer.
    pub(super) fn take_makers(&mut self, id: ChatId) -> Vec<u64> {
        self.made.extract_if(.., |_, made| *made == id).map(|(line, _)| line).collect()
    }
}

#[cfg(test)]
mod tests {
    use panda_protocol::{Counter, DeviceId};

    use super::*;

    fn chat(number: u8) -> ChatId {
        ChatId::group(UserId::from_random([1; 16]), DeviceId::from_random([2; 16]), Counter(u64::from(number)))
    }

    #[test]
    fn chats_are_entered_once() {
        let mut rooms = Rooms::default();
        assert!(rooms.expect(chat(1)));
        assert!(!rooms.expect(chat(1)));
        assert_eq!(rooms.all().count(), 0, "expected is not entered");
        assert!(rooms.enter(chat(1), Called::group("tea"), Seq(1)));
        assert!(!rooms.enter(chat(1), Called::group("tea"), Seq(1)));
        assert!(rooms.enter(chat(2), Called::group("tea"), Seq(1)));
        assert_eq!(rooms.open_id(), None, "nobody asked for it");
        rooms.open(chat(2));
        assert_eq!(rooms.open_id(), Some(chat(2)));
        assert_eq!(rooms.leave(chat(2)).unwrap()[..3], *"tea");
        assert_eq!(rooms.open_id(), None);
    }

    #[test]
    fn typing_is_shown_for_six_seconds_after_the_last_signal_and_of_a_few() {
        let second = Duration::from_secs(1);
        let mut rooms = Rooms::default();
        rooms.enter(chat(1), Called::group("tea"), Seq(1));
        let room = rooms.room_mut(chat(1)).unwrap();
        let ben = UserId::from_random([9; 16]);
        room.typing(ben, second);
        room.typing(ben, 3 * second);
        assert_eq!(room.typists(8 * second).collect::<Vec<_>>(), [ben]);
        assert_eq!(room.typing_ends(8 * second), Some(9 * second));
        assert_eq!(room.typists(9 * second).count(), 0);
        room.typing_stopped(ben);
        for number in 0..=u8::try_from(TYPING_MAX).unwrap() {
            room.typing(UserId::from_random([number; 16]), second);
        }
        assert_eq!(room.typists(second).count(), TYPING_MAX);
    }
}
