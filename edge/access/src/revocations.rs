//! Logins that were ended while access tokens or tickets of them may still live, as one process knows them.
//!
//! Whoever verifies a token or opens a ticket asks here, and asks no store for it. What is known is a copy of rows of the
//! user store, which are read at the start and then behind the last one; so nothing that is lost lets anybody back in.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use panda_protocol::{LoginId, UserId};
use parking_lot::RwLock;
use tokio::sync::broadcast;

use crate::token::LEEWAY_S;

/// Ends that a listener may be behind; one that is further behind looks at everything.
const TOLD_MAX: usize = 1_024;

/// A login of a user.
pub type LoginOf = (UserId, LoginId);

/// Which logins of late were ended. Clones share it.
#[derive(Clone)]
pub struct Revocations {
    inner: Arc<Inner>,
}

struct Inner {
    /// With the second since 1970 from which on nothing of it is valid any more by itself.
    ended: RwLock<HashMap<LoginOf, u64>>,
    told: broadcast::Sender<LoginOf>,
}

/// What a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// This login was ended.
    Ended(LoginOf),
    /// More were ended than could be told: everything has to be looked at.
    Many,
}

/// Hears of logins that end from now on.
pub struct RevocationWatch {
    hears: broadcast::Receiver<LoginOf>,
    /// Keeps the other end there: its own end is nothing that a listener could do something about.
    _inner: Arc<Inner>,
}

impl Revocations {
    /// Nothing was ended.
    pub fn new() -> Self {
        let (told, _) = broadcast::channel(TOLD_MAX);
        Self { inner: Arc::new(Inner { ended: RwLock::default(), told }) }
    }

    /// A login was ended; its last access token ends at this second since 1970. Told again, it changes nothing.
    pub fn end(&self, login: LoginOf, access_ends_unix_s: u64) {
        let until = access_ends_unix_s.saturating_add(LEEWAY_S);
        // Known before it is told: whoever hears of it finds it, and whoever comes behind it is refused.
        if self.inner.ended.write().insert(login, until).is_none() {
            // Nobody may listen.
            self.inner.told.send(login).ok();
        }
    }

    /// Whether this login was ended. What names no login never is.
    pub fn has_ended(&self, user: UserId, login: Option<LoginId>) -> bool {
        login.is_some_and(|login| self.inner.ended.read().contains_key(&(user, login)))
    }

    /// Forgets those of which nothing is valid any more.
    pub fn forget(&self, now_unix_s: u64) {
        let mut ended = self.inner.ended.write();
        ended.retain(|_, until| now_unix_s < *until);
        // A flood that is over leaves no room behind.
        if ended.capacity() > 4 * ended.len() + 1_024 {
            ended.shrink_to_fit();
        }
    }

    /// How many are known.
    pub fn len(&self) -> usize {
        self.inner.ended.read().len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Listens from now on.
    pub fn watch(&self) -> RevocationWatch {
        RevocationWatch { hears: self.inner.told.subscribe(), _inner: Arc::clone(&self.inner) }
    }
}

impl Default for Revocations {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revocations({})", self.len())
    }
}

impl RevocationWatch {
    /// The next end; waits for it. Cancel safe.
    pub async fn next(&mut self) -> Heard {
        match self.hears.recv().await {
            Ok(login) => Heard::Ended(login),
            Err(_) => Heard::Many,
        }
    }
}

impl fmt::Debug for RevocationWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RevocationWatch")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(number: u64) -> LoginOf {
        (UserId::from_random([1; 16]), LoginId::from_random(number))
    }

    fn has_ended(revocations: &Revocations, (user, login): LoginOf) -> bool {
        revocations.has_ended(user, Some(login))
    }

    #[tokio::test]
    async fn an_end_is_known_to_all_and_told_once() {
        let revocations = Revocations::new();
        let mut watch = revocations.watch();
        let clone = revocations.clone();
        clone.end(login(1), 100);
        clone.end(login(1), 100);
        clone.end(login(2), 100);
        assert!(has_ended(&revocations, login(1)) && has_ended(&revocations, login(2)));
        assert!(!has_ended(&revocations, login(3)));
        assert!(!revocations.has_ended(login(1).0, None));
        assert!(!revocations.has_ended(UserId::from_random([2; 16]), Some(login(1).1)));
        assert_eq!((watch.next().await, watch.next().await), (Heard::Ended(login(1)), Heard::Ended(login(2))));
    }

    #[test]
    fn an_end_is_known_as_long_as_a_token_could_be_good() {
        let revocations = Revocations::new();
        revocations.end(login(1), 100);
        revocations.forget(100 + LEEWAY_S - 1);
        assert!(has_ended(&revocations, login(1)));
        revocations.forget(100 + LEEWAY_S);
        assert!(!has_ended(&revocations, login(1)) && revocations.is_empty());
    }

    #[tokio::test]
    async fn who_is_too_far_behind_is_told_to_look_at_everything() {
        let revocations = Revocations::new();
        let mut watch = revocations.watch();
        let many = u64::try_from(TOLD_MAX).unwrap() + 1;
        for number in 1..=many {
            revocations.end(login(number), 100);
        }
        assert_eq!(watch.next().await, Heard::Many);
        assert_eq!(revocations.len(), TOLD_MAX + 1);
    }
}
