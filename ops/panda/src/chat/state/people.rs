//! Names of users, asked for once.

use std::collections::HashMap;

use panda_protocol::UserId;

/// Names that are kept; beyond, all are asked for again.
const NAMES_MAX: usize = 10_000;

/// What is known of a user's name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Name {
    Asked,
    Known(String),
    /// The server does not tell.
    Withheld,
}

/// Who is who.
#[derive(Debug, Default)]
pub(in crate::chat) struct People {
    names: HashMap<UserId, Name>,
}

impl People {
    /// A user's name; the identifier while it is not known.
    pub(in crate::chat) fn name(&self, user: UserId) -> String {
        match self.names.get(&user) {
            Some(Name::Known(name)) => name.clone(),
            _ => user.to_string(),
        }
    }

    /// Whether no better name is to be expected.
    pub(in crate::chat) fn is_settled(&self, user: UserId) -> bool {
        matches!(self.names.get(&user), Some(Name::Known(_) | Name::Withheld))
    }

    /// Says that a name will be needed. Returns whether the server is to be asked.
    #[must_use]
    pub(super) fn want(&mut self, user: UserId) -> bool {
        if self.names.contains_key(&user) {
            return false;
        }
        if self.names.len() >= NAMES_MAX {
            self.names.clear();
        }
        self.names.insert(user, Name::Asked);
        true
    }

    /// The person's own name is known from the start.
    pub(super) fn know(&mut self, user: UserId, name: String) {
        self.told(user, Some(name));
    }

    /// What came of asking.
    pub(super) fn told(&mut self, user: UserId, name: Option<String>) {
        self.names.insert(user, name.map_or(Name::Withheld, Name::Known));
    }

    /// A new connection: what was withheld may be told now.
    pub(super) fn ask_again(&mut self) {
        self.names.retain(|_, name| *name != Name::Withheld);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: u32) -> UserId {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&number.to_be_bytes());
        UserId::from_random(bytes)
    }

    #[test]
    fn a_name_is_asked_for_once_and_again_after_a_new_connection_if_it_was_withheld() {
        let mut people = People::default();
        let ada = user(1);
        assert!(people.want(ada));
        assert!(!people.want(ada));
        assert!(!people.is_settled(ada));
        people.told(ada, None);
        assert!(people.is_settled(ada));
        assert_eq!(people.name(ada), ada.to_string());
        people.ask_again();
        assert!(people.want(ada));
        people.told(ada, Some("ada".into()));
        people.ask_again();
        assert_eq!(people.name(ada), "ada");
    }

    #[test]
    fn no_more_names_are_kept_than_the_limit() {
        let mut people = People::default();
        for number in 0..=u32::try_from(NAMES_MAX).unwrap() {
            assert!(people.want(user(number)));
        }
        assert_eq!(people.names.len(), 1);
    }
}
