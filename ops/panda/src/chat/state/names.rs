//! What chats are called for a person, and which of them a person or a script means.
//!
//! Anybody may name a group as they like, and put others into it. So a name that could be taken for somebody else's is
//! shown as a group's, and where nobody looks at what is opened, only what fits one chat alone counts.

use panda_protocol::ChatId;

use super::rooms::{Room, Rooms};
use crate::chat::harmless;

/// Characters of an identifier's end that tell two chats of one name apart; more if those are the same.
const END_CHARS_MIN: usize = 4;

/// How a chat has to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Naming {
    /// A person sees which one is opened: its number in the list will do, or a part of its name.
    Loose,
    /// Nobody looks: it is its identifier or its whole name, as long as no other chat has it.
    Exact,
}

/// Which chats somebody means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::chat) enum Found {
    None,
    One(ChatId),
    /// In the order of the list; at least two.
    Many(Vec<ChatId>),
    /// It may be one that is not open to the person now, or one of the same name that is.
    Unsure,
}

impl Found {
    fn of(chats: Vec<ChatId>) -> Self {
        match chats[..] {
            [] => Self::None,
            [chat] => Self::One(chat),
            _ => Self::Many(chats),
        }
    }
}

/// What a chat is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Called {
    /// What its members named it; `None` of a direct chat.
    title: Option<String>,
    /// The same for a person and harmless, or `@name` of a direct chat, and of nothing else.
    pub(super) label: String,
}

impl Called {
    /// The direct chat with this user.
    pub(super) fn direct(peer: &str) -> Self {
        Self { title: None, label: harmless::line(&format!("@{peer}")) }
    }

    /// A group.
    pub(super) fn group(title: &str) -> Self {
        let label = if is_misleading(title) { format!("group \"{title}\"") } else { title.to_owned() };
        Self { title: Some(title.to_owned()), label: harmless::line(&label) }
    }

    /// Whether this is its whole name.
    fn is(&self, typed: &str) -> bool {
        self.label == typed || (may_be_title(typed) && self.title.as_deref() == Some(typed))
    }

    /// The same, whatever the case.
    fn is_like(&self, lower: &str) -> bool {
        self.label.to_lowercase() == lower
            || (may_be_title(lower) && self.title.as_ref().is_some_and(|title| title.to_lowercase() == lower))
    }

    fn contains(&self, lower: &str) -> bool {
        (!lower.starts_with('@') || self.title.is_none()) && self.label.to_lowercase().contains(lower)
    }
}

/// Whether whoever types this may mean a group that is titled so: not with a user's name, nor with what tells chats of
/// one name apart.
fn may_be_title(typed: &str) -> bool {
    !typed.starts_with('@') && !is_told_apart(typed)
}

/// Whether a name ends as one that is told apart from others of its label does, or looks as if it did.
fn is_told_apart(name: &str) -> bool {
    let tildes = ['~', '\u{2dc}', '\u{223c}', '\u{223d}', '\u{301c}', '\u{ff5e}'];
    name.trim_end_matches(is_unseen).rsplit_once(tildes).is_some_and(|(_, end)| {
        let seen: Vec<char> = end.chars().filter(|character| !harmless::is_invisible(*character)).collect();
        // Not only those of identifiers: other letters look like them.
        seen.len() >= END_CHARS_MIN && seen.iter().all(|character| character.is_alphanumeric())
    })
}

fn is_unseen(character: char) -> bool {
    character.is_whitespace() || harmless::is_invisible(character)
}

/// Whether a group's title could be taken for a user, a command, an identifier, one of several chats of a name, or
/// nothing at all.
fn is_misleading(title: &str) -> bool {
    let title = harmless::line(title);
    let seen = title.trim_start_matches(is_unseen);
    seen.len() != title.len()
        || seen.is_empty()
        || seen.starts_with(['@', '\u{ff20}', '\u{fe6b}', '/', '"'])
        || seen.starts_with("group \"")
        || seen.parse::<ChatId>().is_ok()
        || is_told_apart(seen)
}

impl Rooms {
    /// Those of one label are told apart by the ends of their identifiers, each of them and always in the same way.
    pub(super) fn tell_apart(&mut self, label: &str) {
        let of_label = |room: &&Room| room.is_entered && room.called.label == label;
        let same: Vec<ChatId> = self.rooms.values().filter(of_label).map(|room| room.id).collect();
        let ends = |count: usize| same.iter().map(|id| end(*id, count)).collect::<Vec<String>>();
        let is_enough = |count: &usize| {
            let mut ends = ends(*count);
            ends.sort_unstable();
            ends.windows(2).all(|pair| pair[0] != pair[1])
        };
        let count = (END_CHARS_MIN..).find(is_enough).unwrap_or(END_CHARS_MIN);
        for id in &same {
            if let Some(room) = self.rooms.get_mut(id) {
                let label = &room.called.label;
                room.name = if same.len() > 1 { format!("{label}~{}", end(*id, count)) } else { label.clone() };
            }
        }
    }

    /// The chats that are meant by what was typed.
    pub(super) fn find(&self, typed: &str, naming: Naming) -> Found {
        if let Ok(id) = typed.parse::<ChatId>() {
            return match self.room(id) {
                Some(room) if room.is_entered => Found::One(id),
                None if !self.shut.contains_key(&id) => Found::None,
                _ => Found::Unsure,
            };
        }
        match naming {
            Naming::Exact => self.find_exactly(typed),
            Naming::Loose => self.find_like(typed),
        }
    }

    /// The chat that is meant by what was typed, whatever the others are called: it is an identifier, or a user.
    pub(super) fn find_certain(&self, typed: &str) -> Option<ChatId> {
        let is_certain = typed.starts_with('@') || typed.parse::<ChatId>().is_ok();
        match self.find(typed, Naming::Exact) {
            Found::One(chat) if is_certain => Some(chat),
            _ => None,
        }
    }

    /// The ones of this whole name. While there are chats whose names are not known, one of them may have it too; but
    /// with each user there is one direct chat.
    fn find_exactly(&self, typed: &str) -> Found {
        match Found::of(self.those(|room| room.called.is(typed))) {
            Found::One(chat) if typed.starts_with('@') => Found::One(chat),
            Found::None | Found::One(_) if self.unnamed(typed).next().is_some() => Found::Unsure,
            found => found,
        }
    }

    /// The chats that the person is in and whose names are not known, and why, as far as it is: direct chats if a user
    /// was typed, else groups.
    fn unnamed(&self, typed: &str) -> impl Iterator<Item = Option<&str>> {
        let is_user = typed.starts_with('@');
        let shut = self.shut.iter().map(|(id, why)| (*id, Some(why.as_str())));
        let expected = self.rooms.values().filter(|room| !room.is_entered).map(|room| (room.id, None));
        shut.chain(expected).filter(move |(id, _)| id.is_direct() == is_user).map(|(_, why)| why)
    }

    /// Those that cannot be opened now, in a sentence's end.
    pub(super) fn unopened(&self) -> String {
        match self.rooms.values().filter(|room| !room.is_entered).count() + self.shut.len() {
            0 => String::new(),
            count => format!("; {count} of yours cannot be opened now"),
        }
    }

    /// Why it is not certain which chat is meant by what was typed.
    pub(super) fn why_unsure(&self, typed: &str) -> String {
        if let Ok(id) = typed.parse::<ChatId>() {
            return match self.shut.get(&id) {
                Some(why) => format!("{id} cannot be opened: {why}"),
                None => format!("{id} is not open yet: the server has not answered"),
            };
        }
        let (count, why) = (self.unnamed(typed).count(), self.unnamed(typed).flatten().next());
        let why = why.unwrap_or("the server has not answered");
        format!(
            "which chat is called {typed} is not certain: {count} of yours cannot be opened, and may be called so; name \
             the one that you mean by its ID ({why})"
        )
    }

    /// The ones of this name, whatever its case, of this number in the list, or of this part of a name: the first of
    /// these that fits anything.
    fn find_like(&self, typed: &str) -> Found {
        let lower = typed.to_lowercase();
        let same = self.those(|room| room.name.to_lowercase() == lower || room.called.is_like(&lower));
        let numbered = || self.by_activity().get(lower.parse::<usize>().ok()?.checked_sub(1)?).map(|room| room.id);
        match (same.is_empty(), numbered()) {
            (false, _) => Found::of(same),
            (true, Some(chat)) => Found::One(chat),
            (true, None) => Found::of(self.those(|room| room.called.contains(&lower))),
        }
    }

    fn those(&self, is_meant: impl Fn(&Room) -> bool) -> Vec<ChatId> {
        self.by_activity().into_iter().filter(|room| is_meant(room)).map(|room| room.id).collect()
    }
}

/// The last characters of an identifier.
fn end(id: ChatId, count: usize) -> String {
    let text = id.to_string();
    text[text.len().saturating_sub(count)..].to_owned()
}

#[cfg(test)]
mod tests {
    use panda_protocol::{Counter, DeviceId, Seq, UserId};

    use super::*;

    fn chat(number: u8) -> ChatId {
        ChatId::group(UserId::from_random([1; 16]), DeviceId::from_random([2; 16]), Counter(u64::from(number)))
    }

    fn rooms(titles: &[&str]) -> Rooms {
        let mut rooms = Rooms::default();
        for (number, title) in (1..).zip(titles) {
            rooms.enter(chat(number), Called::group(title), Seq(1));
        }
        rooms
    }

    #[test]
    fn chats_of_one_name_are_told_apart_in_the_same_way_whichever_came_first() {
        let mut there = rooms(&["tea", "coffee", "tea"]);
        let names = |rooms: &Rooms| [1, 2, 3].map(|number| rooms.room(chat(number)).unwrap().name.clone());
        let [one, coffee, other] = names(&there);
        assert_eq!(coffee, "coffee");
        assert_eq!([one, other], [1, 3].map(|number| format!("tea~{}", end(chat(number), 4))));
        let mut back = Rooms::default();
        for (number, title) in [(3, "tea"), (1, "tea"), (2, "coffee")] {
            back.enter(chat(number), Called::group(title), Seq(1));
        }
        assert_eq!(names(&there), names(&back));
        there.leave(chat(3)).unwrap();
        assert_eq!(there.room(chat(1)).unwrap().name, "tea");
    }

    #[test]
    fn a_group_cannot_pass_for_a_user_a_command_an_identifier_or_nothing() {
        let id = chat(9).to_string();
        for title in ["@carl", " @carl", "\u{200b}@carl", "＠carl", "/quit", "   ", "", "\"x", "group \"x", &id] {
            assert_eq!(Called::group(title).label, format!("group \"{title}\""));
        }
        for title in ["tea", "a@b", "日本語", "🍃 leaves", "7", "tea/coffee", "the group \"x\""] {
            assert_eq!(Called::group(title).label, title);
        }
    }

    #[test]
    fn a_group_cannot_pass_for_one_of_several_chats_of_a_name() {
        let mut rooms = rooms(&["tea", "tea"]);
        let real = rooms.room(chat(1)).unwrap().name.clone();
        let fullwidth = real.replace('~', "\u{ff5e}");
        let unseen = format!("{real}\u{200b} ");
        let split = format!("{}\u{200b}{}", &real[..6], &real[6..]);
        for (number, title) in (7..).zip([&*real, &fullwidth, &unseen, &split, "tea~K3ABCD"]) {
            assert_eq!(Called::group(title).label, format!("group \"{title}\""));
            rooms.enter(chat(number), Called::group(title), Seq(1));
        }
        assert_eq!(rooms.find(&real, Naming::Loose), Found::One(chat(1)));
        assert_eq!(rooms.find(&real, Naming::Exact), Found::None);
        assert_eq!(rooms.find(&format!("group \"{real}\""), Naming::Exact), Found::One(chat(7)));
        for title in ["~tea", "tea~", "tea~3", "a ~ in between", "~ 12 cups"] {
            assert_eq!(Called::group(title).label, title);
        }
    }

    #[test]
    fn where_nobody_looks_only_the_whole_name_of_one_chat_or_its_identifier_counts() {
        let mut rooms = rooms(&["tea", "team", "tea", "@carl", "/quit", "   "]);
        let exact = |rooms: &Rooms, typed: &str| rooms.find(typed, Naming::Exact);
        assert!(matches!(exact(&rooms, "tea"), Found::Many(chats) if chats.len() == 2));
        assert_eq!(exact(&rooms, &chat(3).to_string()), Found::One(chat(3)));
        assert_eq!(exact(&rooms, &chat(9).to_string()), Found::None);
        let suffixed = rooms.room(chat(1)).unwrap().name.clone();
        for typed in ["te", "TEAM", "2", "", "@carl", &suffixed] {
            assert_eq!(exact(&rooms, typed), Found::None, "{typed}");
        }
        for (typed, number) in [("team", 2), ("group \"@carl\"", 4), ("/quit", 5), ("   ", 6)] {
            assert_eq!(exact(&rooms, typed), Found::One(chat(number)), "{typed}");
        }
        rooms.enter(chat(7), Called::direct("carl"), Seq(1));
        assert_eq!(exact(&rooms, "@carl"), Found::One(chat(7)));
        assert_eq!(rooms.find("@car", Naming::Loose), Found::One(chat(7)));
    }

    #[test]
    fn for_a_person_a_name_a_number_or_a_part_of_a_name_finds_the_only_one_or_all_that_are_meant() {
        let rooms = rooms(&["Tea time", "Tennis", "1"]);
        let listed: Vec<ChatId> = rooms.by_activity().iter().map(|room| room.id).collect();
        let find = |typed: &str| rooms.find(typed, Naming::Loose);
        assert_eq!(find("tea"), Found::One(chat(1)));
        assert_eq!(find("TENNIS"), Found::One(chat(2)));
        let both = listed.iter().copied().filter(|id| *id != chat(3)).collect();
        assert_eq!(find("te"), Found::Many(both));
        assert_eq!(find("x"), Found::None);
        assert_eq!(find("2"), Found::One(listed[1]), "its number");
        assert_eq!(find("1"), Found::One(chat(3)), "its name");
        assert_eq!((find("0"), find("4")), (Found::None, Found::None));
        assert_eq!(find(&chat(2).to_string()), Found::One(chat(2)), "its identifier");
    }
}
