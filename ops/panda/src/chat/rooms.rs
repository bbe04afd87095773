//! The chats that the person is in, by the names that are shown.

use std::collections::BTreeMap;

use panda_protocol::{ChatId, Incarnation, Seq};

/// One chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) id: ChatId,
    pub(super) name: String,
    /// Messages that came while another chat was open.
    pub(super) unread: u32,
    pub(super) head: Seq,
}

/// All of them, and the one that is open.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    rooms: BTreeMap<ChatId, Room>,
    open: Option<ChatId>,
    /// To be opened as soon as it is entered.
    next: Option<ChatId>,
    pub(super) incarnation: Incarnation,
}

impl Rooms {
    /// The person is in a chat. The first one is opened. Returns whether it is new here.
    pub(super) fn enter(&mut self, id: ChatId, name: &str, head: Seq) -> bool {
        let taken = self.rooms.values().any(|room| room.id != id && room.name == name);
        // Two chats of one name are told apart by the ends of their identifiers.
        let text = id.to_string();
        let name = if taken { format!("{name}~{}", &text[text.len() - 4..]) } else { name.to_owned() };
        if self.next == Some(id) {
            self.next = None;
            self.open = Some(id);
        }
        self.open.get_or_insert(id);
        match self.rooms.entry(id) {
            std::collections::btree_map::Entry::Occupied(_) => false,
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(Room { id, name, unread: 0, head });
                true
            }
        }
    }

    /// The person is no longer in it. Returns the name that it had.
    pub(super) fn leave(&mut self, id: ChatId) -> Option<String> {
        if self.open == Some(id) {
            self.open = None;
        }
        self.rooms.remove(&id).map(|room| room.name)
    }

    pub(super) fn rename(&mut self, id: ChatId, name: &str) {
        if let Some(room) = self.rooms.get_mut(&id) {
            name.clone_into(&mut room.name);
        }
    }

    pub(super) fn room(&self, id: ChatId) -> Option<&Room> {
        self.rooms.get(&id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Room> {
        self.rooms.values()
    }

    /// The chat that text goes to.
    pub(super) const fn open_id(&self) -> Option<ChatId> {
        self.open
    }

    /// Opens a chat, which is read from then on.
    pub(super) fn open(&mut self, id: ChatId) {
        if let Some(room) = self.rooms.get_mut(&id) {
            room.unread = 0;
            self.open = Some(id);
        }
    }

    /// Opens a chat once the person is in it.
    pub(super) const fn open_next(&mut self, id: ChatId) {
        self.next = Some(id);
    }

    /// The one of this name, whatever its case; a part of the name does if it is the only one.
    pub(super) fn find(&self, name: &str) -> Option<ChatId> {
        let wanted = name.to_lowercase();
        let same = |room: &&Room| room.name.to_lowercase() == wanted;
        if let Some(room) = self.rooms.values().find(same) {
            return Some(room.id);
        }
        let mut parts = self.rooms.values().filter(|room| room.name.to_lowercase().contains(&wanted));
        match (parts.next(), parts.next()) {
            (Some(room), None) => Some(room.id),
            _ => None,
        }
    }

    /// An event came. A message in a chat that is not open is unread.
    pub(super) fn note(&mut self, id: ChatId, seq: Seq, is_message: bool) {
        let is_open = self.open == Some(id);
        if let Some(room) = self.rooms.get_mut(&id) {
            room.head = room.head.max(seq);
            room.unread += u32::from(is_message && !is_open);
        }
    }
}

#[cfg(test)]
mod tests {
    use panda_protocol::{Counter, DeviceId, UserId};

    use super::*;

    fn chat(number: u8) -> ChatId {
        ChatId::group(UserId::from_random([1; 16]), DeviceId::from_random([2; 16]), Counter(u64::from(number)))
    }

    #[test]
    fn the_first_chat_is_open_and_others_collect_what_is_unread() {
        let mut rooms = Rooms::default();
        assert!(rooms.enter(chat(1), "tea", Seq(1)));
        assert!(!rooms.enter(chat(1), "tea", Seq(1)));
        assert!(rooms.enter(chat(2), "tea", Seq(1)));
        assert_ne!(rooms.room(chat(1)).unwrap().name, rooms.room(chat(2)).unwrap().name);
        rooms.note(chat(1), Seq(2), true);
        rooms.note(chat(2), Seq(2), true);
        rooms.note(chat(2), Seq(3), false);
        assert_eq!((rooms.room(chat(1)).unwrap().unread, rooms.room(chat(2)).unwrap().unread), (0, 1));
        rooms.open(chat(2));
        assert_eq!((rooms.open_id(), rooms.room(chat(2)).unwrap().unread), (Some(chat(2)), 0));
        assert_eq!(rooms.leave(chat(2)).unwrap()[..3], *"tea");
        assert_eq!(rooms.open_id(), None);
    }

    #[test]
    fn a_part_of_a_name_is_enough_if_it_is_the_only_one() {
        let mut rooms = Rooms::default();
        rooms.enter(chat(1), "Tea time", Seq(1));
        rooms.enter(chat(2), "Tennis", Seq(1));
        assert_eq!(rooms.find("tea"), Some(chat(1)));
        assert_eq!(rooms.find("TENNIS"), Some(chat(2)));
        assert_eq!(rooms.find("te"), None);
        assert_eq!(rooms.find("x"), None);
    }
}
