//! The chats that one session listens to.

use std::cmp::Ordering;

use panda_protocol::{ChatId, EntityId};
use smallvec::SmallVec;

use crate::subscriptions::{SubscriptionKey, Subscriptions};

/// Subscriptions in the order of their chats, which they name themselves: each takes 8 bytes here, and two
/// find room in the session. The 10,000 that a session may have move at most 80 kB when one comes or goes.
#[derive(Debug, Default)]
pub(crate) struct Chats(SmallVec<[SubscriptionKey; 2]>);

impl Chats {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SubscriptionKey> {
        self.0.iter().copied()
    }

    /// The subscription to a chat.
    pub(crate) fn find(&self, chat: ChatId, subscriptions: &Subscriptions) -> Option<SubscriptionKey> {
        self.place(chat, subscriptions).ok().map(|place| self.0[place])
    }

    /// The place of a chat's subscription, or, as an error, the one where it belongs. It is good until one
    /// comes or goes.
    pub(crate) fn place(&self, chat: ChatId, subscriptions: &Subscriptions) -> Result<usize, usize> {
        let entity = EntityId::from(chat);
        self.0.binary_search_by(|key| subscriptions.one(*key).map_or(Ordering::Less, |one| one.entity.cmp(&entity)))
    }

    /// Puts the subscription to a chat where [`Self::place`] says that it belongs.
    pub(crate) fn insert(&mut self, place: usize, key: SubscriptionKey) {
        self.0.insert(place, key);
    }

    /// Takes the one in a place that [`Self::place`] found. It is to be taken out of the subscriptions after
    /// that, not before: until then its chat is looked at.
    pub(crate) fn remove(&mut self, place: usize) -> SubscriptionKey {
        self.0.remove(place)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use panda_protocol::{Counter, DeviceId, UserId};

    use super::*;
    use crate::session::SessionKey;

    fn chat(number: u64) -> ChatId {
        ChatId::group(UserId::from_random([1; 16]), DeviceId::NONE, Counter(number))
    }

    #[test]
    fn each_chat_is_found_in_whatever_order_they_come_and_go() {
        let (mut subscriptions, mut chats) = (Subscriptions::new(), Chats::default());
        let session = SessionKey { index: 0, serial: 1 };
        let mut model = HashMap::new();
        for number in (1..=300).chain(100..=200) {
            match chats.place(chat(number), &subscriptions) {
                Ok(place) => {
                    let key = chats.remove(place);
                    assert_eq!(model.remove(&number), Some(key));
                    subscriptions.remove(key).unwrap();
                }
                Err(place) => {
                    let key = subscriptions.add(session, chat(number).into());
                    chats.insert(place, key);
                    model.insert(number, key);
                }
            }
            assert_eq!(chats.len(), model.len());
        }
        for number in 0..=301 {
            assert_eq!(chats.find(chat(number), &subscriptions), model.get(&number).copied());
        }
        assert!(chats.iter().all(|key| model.values().any(|known| *known == key)));
    }
}
