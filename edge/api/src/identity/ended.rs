//! Logins that were ended, wherever in the deployment, as this process learns of them.

use std::convert::Infallible;
use std::time::Duration;

use panda_access::Revocations;
use panda_protocol::Time;
use panda_storage::user_store::{ENDED_LOGINS_MAX, EndedLogin};
use panda_storage::{UserStore, UserStoreError};
use tokio::time::{Instant, sleep};

/// How often those are forgotten of which nothing lives any more.
const FORGET_EVERY: Duration = Duration::from_secs(60);

/// What this process knows of ended logins, and how far it has read. The user store's rows are what counts: they are
/// read at the start and then behind the last one, whoever wrote them, so there is nothing that could be told and lost.
#[derive(Clone, Debug, Default)]
pub struct EndedLogins {
    revocations: Revocations,
    /// The last place that was read.
    place: u64,
}

impl EndedLogins {
    /// For those who verify tokens and open tickets.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// An end that this process made itself.
    pub(crate) fn note(&self, ended: &EndedLogin) {
        self.revocations.end((ended.user, ended.id), ended.access_ends.0.div_ceil(1_000_000));
    }

    /// Reads all that there is behind what was read; behind an error, from the start. A store that was away may have come
    /// back as a copy of it from before, which gives places again that were read; and told again, an end changes nothing.
    pub(crate) async fn read_on<U: UserStore>(&mut self, users: &U) -> Result<(), UserStoreError> {
        let read = self.read_behind(users).await;
        if read.is_err() {
            self.place = 0;
        }
        read
    }

    async fn read_behind<U: UserStore>(&mut self, users: &U) -> Result<(), UserStoreError> {
        loop {
            let more = users.ended_logins(self.place, ENDED_LOGINS_MAX).await?;
            for ended in &more {
                self.note(ended);
                self.place = ended.place;
            }
            if more.len() < ENDED_LOGINS_MAX {
                return Ok(());
            }
        }
    }
}

/// Reads on for ever. While the store is away nobody ends logins there, and what is known stays.
pub(crate) async fn follow<U: UserStore>(
    mut ended: EndedLogins,
    users: U,
    every: Duration,
    clock: fn() -> Time,
) -> Infallible {
    let (mut is_away, mut forgot) = (false, Instant::now());
    loop {
        sleep(every).await;
        match ended.read_on(&users).await {
            Ok(()) if is_away => {
                is_away = false;
                tracing::info!("ended logins are read again");
            }
            Ok(()) => {}
            Err(error) if is_away => tracing::debug!(%error, "ended logins cannot be read yet"),
            Err(error) => {
                is_away = true;
                tracing::warn!(%error, "ended logins cannot be read: sessions of those that other processes end go on");
            }
        }
        if forgot.elapsed() >= FORGET_EVERY {
            forgot = Instant::now();
            ended.revocations.forget(clock().0 / 1_000_000);
        }
    }
}

#[cfg(test)]
mod tests {
    use panda_access::Heard;
    use panda_protocol::{LoginId, UserId};
    use panda_storage::embedded::SqliteUsers;
    use panda_storage::user_store::{LoginLimits, NewLogin, NewUser, Username, WhichLogins};

    use super::*;

    const NOW: Time = Time(1_800_000_000_000_000);
    const LIMITS: LoginLimits = LoginLimits {
        access: Duration::from_secs(100),
        idle: Duration::from_secs(100),
        lifetime: Duration::from_secs(100),
        grace: Duration::ZERO,
    };

    async fn end_one(users: &SqliteUsers, number: u64) -> (UserId, LoginId) {
        let user = UserId::from_random([1; 16]);
        let id = LoginId::from_random(number);
        users.add_login(NewLogin { user, id, label: None, refresh: [0; 32], created: NOW }, LIMITS).await.unwrap();
        users.end_logins(user, WhichLogins::One(id), NOW).await.unwrap();
        (user, id)
    }

    #[tokio::test]
    async fn what_other_processes_end_is_known_at_the_start_and_then_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let users = SqliteUsers::open(&folder.path().join("users.db"), NOW).unwrap();
        let username = Username::parse("ada").unwrap();
        let new = NewUser { id: UserId::from_random([1; 16]), username, email: None, password: None, created: NOW };
        users.create_user(new).await.unwrap();
        let many = u64::try_from(ENDED_LOGINS_MAX).unwrap() + 1;
        for number in 1..=many {
            end_one(&users, number).await;
        }
        let mut ended = EndedLogins::default();
        ended.read_on(&users).await.unwrap();
        assert_eq!(ended.revocations().len(), ENDED_LOGINS_MAX + 1);
        let mut watch = ended.revocations().watch();
        let following = tokio::spawn(follow(ended.clone(), users.clone(), Duration::from_millis(1), || NOW));
        let later = end_one(&users, many + 1).await;
        let heard = tokio::time::timeout(Duration::from_secs(60), watch.next()).await.expect("it is read");
        assert_eq!(heard, Heard::Ended(later));
        following.abort();
    }

    #[tokio::test]
    async fn a_store_that_comes_back_as_it_was_before_is_read_from_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.db");
        let users = SqliteUsers::open(&path, NOW).unwrap();
        let username = Username::parse("ada").unwrap();
        let new = NewUser { id: UserId::from_random([1; 16]), username, email: None, password: None, created: NOW };
        users.create_user(new).await.unwrap();
        let before = [end_one(&users, 1).await, end_one(&users, 2).await];
        let mut ended = EndedLogins::default();
        ended.read_on(&users).await.unwrap();
        let file = rusqlite::Connection::open(&path).unwrap();
        file.execute_batch("ALTER TABLE ended_logins RENAME TO away").unwrap();
        ended.read_on(&users).await.unwrap_err();
        file.execute_batch(
            "ALTER TABLE away RENAME TO ended_logins; DELETE FROM ended_logins; DELETE FROM sqlite_sequence",
        )
        .unwrap();
        // It has the place of the first.
        let (user, login) = end_one(&users, 3).await;
        ended.read_on(&users).await.unwrap();
        assert!(ended.revocations().has_ended(user, Some(login)));
        // What the copy does not know stays known.
        assert!(before.iter().all(|(user, login)| ended.revocations().has_ended(*user, Some(*login))));
    }
}
