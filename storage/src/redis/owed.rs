//! Invalidations that the server has not taken yet.
//!
//! Another process may reach the server when this one does not, and go on believing what is cached there.
//! So what could not be said is said again until it is heard, or until nothing that was filled before is
//! believed any longer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use panda_protocol::UserId;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::cache::PROFILE_TTL;

/// Invalidations that are owed at most.
pub(super) const OWED_MAX: usize = 10_000;
/// How long one is owed: a profile's time, and as long again for whoever read the row just before the
/// change and fills it in late.
pub(super) const OWED_TTL: Duration = PROFILE_TTL.saturating_mul(2);

#[derive(Default)]
pub(super) struct Owed(Mutex<Debts>);

#[derive(Default)]
struct Debts {
    profiles: HashMap<UserId, Debt>,
    /// The task that says them again.
    task: Option<JoinHandle<()>>,
}

struct Debt {
    version: u64,
    until: Instant,
}

impl Owed {
    /// Whether what the cache says of this user may be older than what this process knows.
    pub(super) fn contains(&self, user: UserId) -> bool {
        self.0.lock().profiles.contains_key(&user)
    }

    /// Notes one, and starts `task` if none is under way. False: there is no room for it.
    #[must_use]
    pub(super) fn add(&self, user: UserId, version: u64, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let mut debts = self.0.lock();
        let full = debts.profiles.len() >= OWED_MAX;
        let until = Instant::now() + OWED_TTL;
        match debts.profiles.entry(user) {
            Entry::Occupied(mut known) => {
                let version = version.max(known.get().version);
                known.insert(Debt { version, until });
            }
            Entry::Vacant(_) if full => return false,
            Entry::Vacant(vacant) => {
                vacant.insert(Debt { version, until });
            }
        }
        // A task whose runtime ended is finished, too.
        if debts.task.as_ref().is_none_or(JoinHandle::is_finished) {
            debts.task = Some(tokio::spawn(task));
        }
        true
    }

    /// One that is owed. None: nothing is, and the task that asks is over.
    pub(super) fn next(&self) -> Option<(UserId, u64)> {
        let mut debts = self.0.lock();
        let now = Instant::now();
        debts.profiles.retain(|_, debt| now < debt.until);
        let next = debts.profiles.iter().next().map(|(user, debt)| (*user, debt.version));
        if next.is_none() {
            debts.task = None;
        }
        next
    }

    /// The server has taken this one.
    pub(super) fn settle(&self, user: UserId, version: u64) {
        let mut debts = self.0.lock();
        if debts.profiles.get(&user).is_some_and(|debt| debt.version <= version) {
            debts.profiles.remove(&user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(number: usize) -> UserId {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        UserId::from_random(bytes)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_owed_is_the_newest_and_lapses() {
        let owed = Owed::default();
        assert!(owed.add(user(1), 3, async {}) && owed.add(user(1), 2, async {}));
        assert_eq!(owed.next(), Some((user(1), 3)));
        owed.settle(user(1), 2);
        assert!(owed.contains(user(1)));
        owed.settle(user(1), 3);
        assert!(!owed.contains(user(1)) && owed.next().is_none());
        assert!(owed.add(user(2), 1, async {}));
        tokio::time::advance(OWED_TTL).await;
        assert_eq!(owed.next(), None);
    }

    #[tokio::test]
    async fn no_more_than_the_limit_is_owed() {
        let owed = Owed::default();
        assert!((0..OWED_MAX).all(|number| owed.add(user(number), 1, async {})));
        assert!(!owed.add(user(OWED_MAX), 1, async {}));
        assert!(owed.add(user(0), 2, async {}));
    }
}
