//! Logins: what began when a user registered or logged in, and goes on by refresh tokens.
//!
//! A login has one refresh token at a time. Its use replaces it ([`decide`]): the next one is given out, and the one
//! before is remembered for a while, because its user may not have got the answer. Whoever brings one from before that
//! has a copy of a token that somebody else used, and nobody knows which of the two is the thief: the login ends.

use std::time::Duration;

use panda_protocol::{LoginId, Time, UserId};

use super::LoginLabel;

/// Logins that a user has at a time; one more ends that which was not used for the longest time. Those that never went on
/// when their first access token ended leave before: scripts that log in anew each time would put out those who stay.
pub const LOGINS_MAX: usize = 64;
/// Ended logins that one call reads.
pub const ENDED_LOGINS_MAX: usize = 1_000;
/// An ended login is forgotten so long after its last access token: clocks of processes differ a little.
pub(crate) const ENDED_KEPT: Duration = Duration::from_secs(60);

/// SHA-256 of a refresh token's secret, which is random: a plain digest tells nothing of it.
pub type RefreshDigest = [u8; 32];

/// How long what belongs to a login lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginLimits {
    /// An access token.
    pub access: Duration,
    /// A login that nobody uses.
    pub idle: Duration,
    /// A login, however much it is used.
    pub lifetime: Duration,
    /// How long the refresh token before the present one is taken once more.
    pub grace: Duration,
}

impl LoginLimits {
    /// When a login ends by itself.
    pub fn ends(&self, created: Time, used: Time) -> Time {
        after(created, self.lifetime).min(after(used, self.idle))
    }

    /// When an access token ends that is given out now: no later than its login.
    pub fn access_ends(&self, created: Time, now: Time) -> Time {
        after(now, self.access).min(self.ends(created, now))
    }
}

/// A login that begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewLogin {
    /// Whose.
    pub user: UserId,
    /// A new name.
    pub id: LoginId,
    /// What the client calls its device.
    pub label: Option<LoginLabel>,
    /// Of its first refresh token.
    pub refresh: RefreshDigest,
    /// Now.
    pub created: Time,
}

/// A login as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Its name.
    pub id: LoginId,
    /// What the client calls its device.
    pub label: Option<LoginLabel>,
    /// When it began.
    pub created: Time,
    /// When it was last refreshed; at first when it began.
    pub used: Time,
    /// When it ends by itself, unless it is used before.
    pub ends: Time,
}

/// A use of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Whose login it is of, and which.
    pub of: (UserId, LoginId),
    /// Of the token that was brought.
    pub brought: RefreshDigest,
    /// Of the one that takes its place.
    pub next: RefreshDigest,
    /// That one, sealed under the one that was brought: whoever brings that once more is given the same.
    pub next_sealed: Vec<u8>,
    /// Now.
    pub now: Time,
}

/// What became of the use of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// The next one took its place. An access token may be given out that ends no later than this, and the refresh token
    /// lasts until then if it is not used.
    Rotated {
        /// The latest end of an access token.
        access_ends: Time,
        /// When the login ends by itself.
        ends: Time,
    },
    /// It was used a moment ago: what took its place then, sealed under it, is given out again.
    Repeated {
        /// As [`Refresh::next_sealed`] of the first use.
        next_sealed: Vec<u8>,
        /// The latest end of an access token.
        access_ends: Time,
        /// When the login ends by itself.
        ends: Time,
    },
    /// The login's time was over, and it is gone: the next use finds none.
    Expired,
    /// There is no such login: it was ended.
    Ended,
    /// It was used before, so that two have it: the login was ended.
    Reused(EndedLogin),
}

/// Which logins of a user are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichLogins {
    /// This one.
    One(LoginId),
    /// All but this one.
    Others(LoginId),
    /// All.
    All,
}

impl WhichLogins {
    /// Whether it is one of them.
    pub fn has(self, id: LoginId) -> bool {
        match self {
            Self::One(one) => one == id,
            Self::Others(kept) => kept != id,
            Self::All => true,
        }
    }
}

/// A login that was ended before its time, while access tokens of it may still live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedLogin {
    /// Behind those of all logins that were ended before it.
    pub place: u64,
    /// Whose.
    pub user: UserId,
    /// Which.
    pub id: LoginId,
    /// When its last access token ends.
    pub access_ends: Time,
}

/// A login as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredLogin {
    pub(crate) user: UserId,
    pub(crate) id: LoginId,
    pub(crate) label: Option<LoginLabel>,
    pub(crate) created: Time,
    pub(crate) used: Time,
    pub(crate) access_ends: Time,
    pub(crate) refresh: RefreshDigest,
    pub(crate) replaced: Option<Replaced>,
}

/// The refresh token before the present one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Replaced {
    pub(crate) digest: RefreshDigest,
    /// The present one, sealed under it.
    pub(crate) next_sealed: Vec<u8>,
    pub(crate) at: Time,
}

impl StoredLogin {
    /// One that begins.
    pub(crate) fn new(new: &NewLogin, limits: &LoginLimits) -> Self {
        Self {
            user: new.user,
            id: new.id,
            label: new.label.clone(),
            created: new.created,
            used: new.created,
            access_ends: limits.access_ends(new.created, new.created),
            refresh: new.refresh,
            replaced: None,
        }
    }

    fn has_ended(&self, limits: &LoginLimits, now: Time) -> bool {
        now >= limits.ends(self.created, self.used)
    }

    /// As its user sees it, unless its time is over.
    pub(crate) fn shown(self, limits: &LoginLimits, now: Time) -> Option<Login> {
        let ends = limits.ends(self.created, self.used);
        let Self { id, label, created, used, .. } = self;
        (now < ends).then_some(Login { id, label, created, used, ends })
    }
}

/// What is to be done about the use of a refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The login is stored like this, and this is answered.
    Store(Box<StoredLogin>, Refreshed),
    /// Its time is over: it goes. No token of it is good any more, so nobody has to hear of an end.
    Expired,
    /// The login ends.
    End,
}

/// Decides about the use of a refresh token of a login that is there.
pub(crate) fn decide(mut login: StoredLogin, refresh: &Refresh, limits: &LoginLimits) -> Decision {
    let now = refresh.now;
    if login.has_ended(limits, now) {
        return Decision::Expired;
    }
    let repeated = match &login.replaced {
        _ if login.refresh == refresh.brought => None,
        Some(replaced) if replaced.digest == refresh.brought && now < after(replaced.at, limits.grace) => {
            Some(replaced.next_sealed.clone())
        }
        _ => return Decision::End,
    };
    // Of another process, whose clock may be a little behind that of the one before.
    login.used = login.used.max(now);
    let access_ends = limits.access_ends(login.created, now);
    login.access_ends = login.access_ends.max(access_ends);
    let ends = limits.ends(login.created, login.used);
    let refreshed = if let Some(next_sealed) = repeated {
        Refreshed::Repeated { next_sealed, access_ends, ends }
    } else {
        let digest = std::mem::replace(&mut login.refresh, refresh.next);
        login.replaced = Some(Replaced { digest, next_sealed: refresh.next_sealed.clone(), at: now });
        Refreshed::Rotated { access_ends, ends }
    };
    Decision::Store(Box::new(login), refreshed)
}

/// Which logins make room for a new one: those whose time is over, and as many more as it takes; first those that nobody
/// went on with, then the longest unused.
pub(crate) fn making_room(mut logins: Vec<StoredLogin>, limits: &LoginLimits, now: Time) -> Vec<StoredLogin> {
    let is_abandoned = |login: &StoredLogin| login.replaced.is_none() && login.access_ends <= now;
    logins.sort_by_key(|login| {
        (!login.has_ended(limits, now), !is_abandoned(login), login.used, login.created, login.id)
    });
    let over = logins.iter().filter(|login| login.has_ended(limits, now)).count();
    logins.truncate(over.max((logins.len() + 1).saturating_sub(LOGINS_MAX)));
    logins
}

/// So long after a moment.
pub(crate) fn after(time: Time, long: Duration) -> Time {
    Time(time.0.saturating_add(u64::try_from(long.as_micros()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;
    const LIMITS: LoginLimits = LoginLimits {
        access: Duration::from_secs(100),
        idle: Duration::from_secs(1_000),
        lifetime: Duration::from_secs(5_000),
        grace: Duration::from_secs(10),
    };

    fn at(seconds: u64) -> Time {
        Time(seconds * S)
    }

    fn login(number: u64, used: u64) -> StoredLogin {
        let new = NewLogin {
            user: UserId::from_random([1; 16]),
            id: LoginId::from_random(number),
            label: None,
            refresh: [0; 32],
            created: at(used),
        };
        StoredLogin::new(&new, &LIMITS)
    }

    fn use_of(brought: u8, next: u8, now: u64) -> Refresh {
        let of = (UserId::from_random([1; 16]), LoginId::from_random(1));
        Refresh { of, brought: [brought; 32], next: [next; 32], next_sealed: vec![next], now: at(now) }
    }

    fn stored(decision: Decision) -> (StoredLogin, Refreshed) {
        match decision {
            Decision::Store(login, refreshed) => (*login, refreshed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_taken_once_more_within_the_grace_and_gets_the_same_answer() {
        let (login, first) = stored(decide(login(1, 0), &use_of(0, 1, 50), &LIMITS));
        assert_eq!(first, Refreshed::Rotated { access_ends: at(150), ends: at(1_050) });
        let (again, second) = stored(decide(login.clone(), &use_of(0, 2, 59), &LIMITS));
        assert_eq!(second, Refreshed::Repeated { next_sealed: vec![1], access_ends: at(159), ends: at(1_059) });
        // The second use made no other token the present one, and did not lengthen the grace.
        assert_eq!((again.refresh, &again.replaced), ([1; 32], &login.replaced));
        assert_eq!(decide(again.clone(), &use_of(0, 3, 60), &LIMITS), Decision::End);
        let (after, _) = stored(decide(again, &use_of(1, 3, 60), &LIMITS));
        assert_eq!(decide(after, &use_of(0, 4, 59), &LIMITS), Decision::End, "it is not the one before any more");
    }

    #[test]
    fn what_was_never_given_out_ends_the_login_too() {
        assert_eq!(decide(login(1, 0), &use_of(9, 1, 1), &LIMITS), Decision::End);
    }

    #[test]
    fn a_login_ends_unused_or_old_and_no_access_token_outlives_it() {
        assert_eq!(decide(login(1, 0), &use_of(0, 1, 1_000), &LIMITS), Decision::Expired);
        let (mut used, mut token) = (login(1, 0), 0);
        for now in (900..4_900).step_by(900) {
            (used, _) = stored(decide(used, &use_of(token, token + 1, now), &LIMITS));
            token += 1;
        }
        let (used, last) = stored(decide(used, &use_of(token, token + 1, 4_950), &LIMITS));
        assert_eq!(last, Refreshed::Rotated { access_ends: at(5_000), ends: at(5_000) });
        assert_eq!(decide(used, &use_of(token + 1, 99, 5_000), &LIMITS), Decision::Expired);
    }

    #[test]
    fn clocks_that_go_back_shorten_nothing() {
        let (login, _) = stored(decide(login(1, 100), &use_of(0, 1, 200), &LIMITS));
        let (login, _) = stored(decide(login, &use_of(1, 2, 196), &LIMITS));
        assert_eq!((login.used, login.access_ends), (at(200), at(300)));
    }

    #[test]
    fn room_is_made_by_those_that_are_over_and_the_longest_unused() {
        let ids = |logins: Vec<StoredLogin>| logins.into_iter().map(|login| login.id).collect::<Vec<_>>();
        let full = u64::try_from(LOGINS_MAX).unwrap();
        let many: Vec<_> = (1..=full).rev().map(|number| login(number, 500 + number)).collect();
        assert_eq!(ids(making_room(many[1..].to_vec(), &LIMITS, at(600))), []);
        assert_eq!(ids(making_room(many.clone(), &LIMITS, at(600))), [LoginId::from_random(1)]);
        let over = making_room(many, &LIMITS, at(1_502));
        assert_eq!(ids(over), [1, 2].map(LoginId::from_random));
    }
}
