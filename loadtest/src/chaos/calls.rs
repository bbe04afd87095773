//! What callers of the HTTP API feel: a call every quarter of a second, to one target after the other,
//! each from when it was due, again until it is answered. It touches users and their cache, which sends
//! do not: users are read and made, so that a store of them that takes nothing more is felt.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::provision::{Http, ProvisionError, Question};
use crate::run::Run;
use crate::series::CALM;

const EVERY: Duration = Duration::from_millis(250);
/// Users that each call makes, with addresses of so many characters: some calls together take a page of the store's table,
/// so none can be taken for long where the disk is full.
const NEW_USERS: usize = 4;
const EMAIL_CHARACTERS: usize = 250;
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// A call that is not answered within this time counts as failed, and the next target is asked.
const CALL_MAX: Duration = Duration::from_secs(5);

/// Why a call was tried again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// Nobody answered in time.
    NoAnswer,
    /// Not what the API says that it answers.
    Unusable,
    /// A refusal.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code's label, if there is one.
        label: Option<String>,
        /// Whether it said how long to wait.
        names_wait: bool,
    },
}

impl Failure {
    /// Whether it tells the caller what it is, and when to come back: what every refusal for now does.
    pub const fn is_told(&self) -> bool {
        match self {
            Self::NoAnswer => true,
            Self::Unusable => false,
            Self::Refused { label, names_wait, .. } => label.is_some() && *names_wait,
        }
    }

    fn of(error: &ProvisionError) -> Self {
        #[derive(Deserialize)]
        struct Problem {
            label: String,
            retry_after_ms: Option<u64>,
        }
        match error {
            ProvisionError::Unreachable(_) => Self::NoAnswer,
            ProvisionError::Answer(_) | ProvisionError::Authority(_) => Self::Unusable,
            ProvisionError::Refused { status, body } => {
                let problem: Option<Problem> = serde_json::from_str(body).ok();
                let names_wait = problem.as_ref().is_some_and(|problem| problem.retry_after_ms.is_some());
                Self::Refused { status: *status, label: problem.map(|problem| problem.label), names_wait }
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAnswer => f.write_str("no answer"),
            Self::Unusable => f.write_str("unusable answer"),
            Self::Refused { status, label, names_wait } => {
                write!(f, "{} ({status})", label.as_deref().unwrap_or("without a code"))?;
                if *names_wait { Ok(()) } else { f.write_str(" without retry_after") }
            }
        }
    }
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What callers felt so far.
#[derive(Debug)]
pub struct Calls {
    bound: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    longest: Duration,
    failures: BTreeMap<Failure, u64>,
    /// Since when every call was answered within the bound.
    well_since: Option<Duration>,
    /// When the call was due that is being made.
    open: Option<Duration>,
}

impl Calls {
    /// Calls within `bound` count as well.
    pub fn new(bound: Duration) -> Self {
        Self { bound, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest call since the last time, from when it was due, and the failed tries by why.
    pub fn take(&self, now: Duration) -> (Duration, BTreeMap<Failure, u64>) {
        let mut state = self.state();
        let open = state.open.map_or(Duration::ZERO, |due| now.saturating_sub(due));
        (core::mem::take(&mut state.longest).max(open), core::mem::take(&mut state.failures))
    }

    /// Whether calls have been well for [`CALM`].
    pub fn is_calm(&self, now: Duration) -> bool {
        let state = self.state();
        let late = state.open.is_some_and(|due| now.saturating_sub(due) > self.bound);
        !late && state.well_since.is_some_and(|since| now.saturating_sub(since) >= CALM)
    }

    fn begun(&self, due: Duration) {
        self.state().open = Some(due);
    }

    fn failed(&self, why: Failure) {
        let mut state = self.state();
        state.well_since = None;
        *state.failures.entry(why).or_default() += 1;
    }

    fn answered(&self, due: Duration, now: Duration) {
        let mut state = self.state();
        let after = now.saturating_sub(due);
        state.open = None;
        state.longest = state.longest.max(after);
        if after > self.bound {
            state.well_since = None;
        } else {
            state.well_since.get_or_insert(due);
        }
    }

    /// Calls until it is dropped: the run's targets, and those of `apis`, base URLs where no sessions are.
    pub async fn go_on(&self, run: &Run, apis: &[String]) {
        let key = run.targets[0].http.key();
        let bases = run.targets.iter().map(|target| target.http.base()).chain(apis.iter().map(String::as_str));
        let targets: Vec<Arc<Http>> = bases.map(|base| Http::with_limit(base, key, CALL_MAX)).collect();
        // The users are none of an earlier run, whatever its seed.
        let newcomers: u64 = rand::random();
        let mut due = run.now();
        for place in 0_usize.. {
            tokio::time::sleep_until(run.instant(due)).await;
            self.begun(due);
            let mut at = place % targets.len();
            let asked = users(&run.users[0].username, newcomers, place);
            while let Err(error) = call(&targets[at], asked.clone()).await {
                self.failed(Failure::of(&error));
                at = (at + 1) % targets.len();
                tokio::time::sleep(AGAIN_AFTER).await;
            }
            let now = run.now();
            self.answered(due, now);
            // Calls that were due meanwhile would have waited for less.
            due = (due + EVERY).max(now);
        }
    }
}

/// Call `number` asks for the user and for new ones.
fn users(username: &str, newcomers: u64, number: usize) -> Vec<u8> {
    let new = (0..NEW_USERS).map(|place| {
        let name = format!("{newcomers:x}.{number}.{place}");
        let email = format!("{name:x>0$}@example.org", EMAIL_CHARACTERS - "@example.org".len());
        serde_json::json!({ "username": name, "email": email })
    });
    let all: Vec<_> = std::iter::once(serde_json::json!({ "username": username })).chain(new).collect();
    serde_json::json!({ "users": all }).to_string().into_bytes()
}

/// Gets the first user a new token, which reads users and makes the others, then its profile with that, which reads the
/// cache. Asked again, it makes nobody twice.
async fn call(http: &Arc<Http>, asked: Vec<u8>) -> Result<(), ProvisionError> {
    #[derive(Deserialize)]
    struct Answer {
        users: Vec<User>,
    }
    #[derive(Deserialize)]
    struct User {
        id: String,
        access_token: String,
    }
    let answer = http.ask(Question::Post("/bulk/users", asked)).await?;
    let Answer { users } =
        serde_json::from_slice(&answer).map_err(|error| ProvisionError::Answer(error.to_string()))?;
    let first = users.into_iter().next().ok_or_else(|| ProvisionError::Answer("it names no user".into()))?;
    let User { id, access_token } = first;
    http.ask(Question::GetAs(access_token, format!("/user/{id}"))).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn a_refusal_for_now_tells_its_code_and_when_to_come_back() {
        let refused = |body: &str| Failure::of(&ProvisionError::Refused { status: 503, body: body.into() });
        let told = refused(r#"{ "label": "unavailable", "code": 2000, "retry_after_ms": 1000 }"#);
        assert_eq!((told.is_told(), told.to_string().as_str()), (true, "unavailable (503)"));
        let without = refused(r#"{ "label": "unavailable" }"#);
        assert_eq!((without.is_told(), without.to_string().as_str()), (false, "unavailable (503) without retry_after"));
        let nothing = refused("<html>");
        assert_eq!(
            (nothing.is_told(), nothing.to_string().as_str()),
            (false, "without a code (503) without retry_after")
        );
        assert!(Failure::NoAnswer.is_told() && !Failure::Unusable.is_told());
    }

    #[test]
    fn a_call_asks_for_a_user_that_is_there_and_for_new_ones_whose_rows_are_long() {
        let asked = |newcomers, number| -> serde_json::Value {
            serde_json::from_slice(&users("lt7u0", newcomers, number)).unwrap()
        };
        let first = asked(u64::MAX, 99_999_999);
        let users = first["users"].as_array().unwrap();
        assert_eq!((users.len(), &users[0]["username"]), (1 + NEW_USERS, &"lt7u0".into()));
        for user in &users[1..] {
            assert!(user["username"].as_str().unwrap().len() <= 32, "{user}");
            assert_eq!(user["email"].as_str().unwrap().len(), EMAIL_CHARACTERS);
        }
        assert_ne!(users[1]["username"], asked(u64::MAX, 1)["users"][1]["username"]);
        assert_ne!(users[1]["username"], asked(7, 99_999_999)["users"][1]["username"]);
    }

    #[test]
    fn calls_are_calm_two_seconds_behind_the_last_trouble() {
        let calls = Calls::new(s(1));
        assert!(!calls.is_calm(s(100)), "nothing was called yet");
        calls.begun(s(1));
        calls.failed(Failure::NoAnswer);
        assert!(!calls.is_calm(s(5)));
        calls.answered(s(1), s(6));
        calls.answered(s(6), s(6));
        assert!(!calls.is_calm(s(7)));
        assert!(calls.is_calm(s(8)));
        calls.begun(s(8));
        assert!(!calls.is_calm(s(10)), "one waits for longer than the bound");
        assert_eq!(calls.take(s(10)), (s(5), BTreeMap::from([(Failure::NoAnswer, 1)])));
        assert_eq!(calls.take(s(11)), (s(3), BTreeMap::new()), "the one that waits");
    }
}
