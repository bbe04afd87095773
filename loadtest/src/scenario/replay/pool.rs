//! Sessions of a transcript's users: opened when a user first speaks, the one that was idle for longest
//! closed when there are as many as may be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};

use crate::run::{Run, RunError};
use crate::session::{Identity, Session};

/// One user's session, if it is open. Whoever holds the lock uses it; nobody closes it meanwhile.
type Slot = Arc<AsyncMutex<Option<Arc<Session>>>>;

/// The sessions.
pub(super) struct Pool {
    run: Arc<Run>,
    chats_of: Vec<Vec<usize>>,
    slots: Vec<Slot>,
    open_max: usize,
    state: Mutex<State>,
    /// A session became idle, or one was closed.
    room: Notify,
}

#[derive(Default)]
struct State {
    open: usize,
    opened: u32,
    stamp: u64,
    /// Users with open sessions by the stamp of their last use, and the same the other way round.
    by_use: BTreeMap<u64, u32>,
    last_use: BTreeMap<u32, u64>,
}

/// A session in use.
pub(super) struct Held {
    pool: Arc<Pool>,
    slot: Option<OwnedMutexGuard<Option<Arc<Session>>>>,
    session: Arc<Session>,
}

impl Held {
    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The slot first: whoever is told that there is room must be able to take it.
        self.slot = None;
        self.pool.room.notify_one();
    }
}

impl Pool {
    pub(super) fn new(run: Arc<Run>, chats_of: Vec<Vec<usize>>, open_max: usize) -> Arc<Self> {
        let slots = chats_of.iter().map(|_| Slot::default()).collect();
        Arc::new(Self { run, chats_of, slots, open_max, state: Mutex::default(), room: Notify::new() })
    }

    /// The user's session, opened if it is not. One holder at a time; a holder takes no second one.
    pub(super) async fn acquire(self: &Arc<Self>, user: u32) -> Result<Held, RunError> {
        let mut slot = Arc::clone(&self.slots[user as usize]).lock_owned().await;
        let session = match &*slot {
            Some(open) => Arc::clone(open),
            None => {
                let number = self.make_room().await;
                let chats = self.chats_of[user as usize].clone();
                match Session::open(&self.run, Identity { number, user, chats }).await {
                    Ok(opened) => slot.insert(opened).clone(),
                    Err(error) => {
                        self.with_state(|state| state.open -= 1);
                        return Err(error);
                    }
                }
            }
        };
        self.with_state(|state| state.used(user));
        Ok(Held { pool: Arc::clone(self), slot: Some(slot), session })
    }

    pub(super) async fn close_all(&self) {
        for slot in &self.slots {
            let session = slot.lock().await.take();
            if let Some(session) = session {
                session.close(&self.run).await;
            }
        }
    }

    /// Waits for room for one session more and takes it; gives the new session's number.
    async fn make_room(&self) -> u32 {
        loop {
            let became_idle = self.room.notified();
            let taken = self.with_state(|state| {
                (state.open < self.open_max).then(|| {
                    state.open += 1;
                    state.opened += 1;
                    state.opened
                })
            });
            if let Some(number) = taken {
                return number;
            }
            if !self.close_one().await {
                became_idle.await;
            }
        }
    }

    /// Closes the session that was idle for longest; false if all are in use.
    async fn close_one(&self) -> bool {
        let oldest: Vec<u32> = self.with_state(|state| state.by_use.values().copied().collect());
        for user in oldest {
            // Who holds the slot uses the session, or is about to open one.
            let Ok(mut slot) = Arc::clone(&self.slots[user as usize]).try_lock_owned() else { continue };
            let Some(session) = slot.take() else { continue };
            self.with_state(|state| state.forget(user));
            session.close(&self.run).await;
            self.with_state(|state| state.open -= 1);
            self.room.notify_one();
            return true;
        }
        false
    }

    fn with_state<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn used(&mut self, user: u32) {
        self.forget(user);
        self.stamp += 1;
        self.by_use.insert(self.stamp, user);
        self.last_use.insert(user, self.stamp);
    }

    fn forget(&mut self, user: u32) {
        if let Some(stamp) = self.last_use.remove(&user) {
            self.by_use.remove(&stamp);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_comes_first() {
        let mut state = State::default();
        [1, 2, 3, 1].into_iter().for_each(|user| state.used(user));
        state.forget(3);
        assert_eq!(state.by_use.values().copied().collect::<Vec<_>>(), [2, 1]);
        assert_eq!(state.last_use.len(), 2);
    }
}
