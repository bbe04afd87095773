//! Passwords, hashed by argon2id on threads of their own.
//!
//! A hash costs 19 MiB and some 20 ms of a core by intention. The queue before the threads is bounded
//! and refuses when it is full, so a flood of logins costs the flooder its logins and the others
//! nothing but theirs.

use std::io;
use std::sync::Arc;
use std::thread;

use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use panda_storage::user_store::PasswordHash;
use tokio::sync::{mpsc, oneshot};

/// Memory of one hash in KiB, passes over it, and lanes: the first recommendation of OWASP.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Why a password was not hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HashError {
    /// Too many wait.
    Busy,
    /// The system has no random bytes or no memory.
    Failed,
}

enum Job {
    Hash { password: Vec<u8>, answer: oneshot::Sender<Option<PasswordHash>> },
    Verify { password: Vec<u8>, hash: Option<PasswordHash>, answer: oneshot::Sender<bool> },
}

/// The threads and their queue; they end once it is dropped.
pub(crate) struct PasswordHasher {
    jobs: mpsc::Sender<Job>,
}

impl PasswordHasher {
    pub(crate) fn start(threads: usize, queue_max: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>(queue_max.max(1));
        let queue = Arc::new(std::sync::Mutex::new(queue));
        // Compared with where there is no hash, so that an unknown name takes as long as a known one.
        let stand_in = hash(b"nobody's password")
            .ok_or_else(|| io::Error::other("no memory or no random bytes for a password's hash"))?;
        for _ in 0..threads.max(1) {
            let (queue, stand_in) = (Arc::clone(&queue), stand_in.clone());
            let run = move || {
                loop {
                    let job = match queue.lock() {
                        Ok(mut queue) => queue.blocking_recv(),
                        // Nothing panics while it holds the lock.
                        Err(_) => return,
                    };
                    let Some(job) = job else { return };
                    job.run(&stand_in);
                }
            };
            thread::Builder::new().name("password".into()).spawn(run)?;
        }
        Ok(Self { jobs })
    }

    /// A place in the queue, for who has to ask a store before it is known what is to be hashed: a flood is refused
    /// before it costs the store anything. It is free again when it is dropped.
    pub(crate) fn place(&self) -> Result<Place<'_>, HashError> {
        self.jobs.try_reserve().map(Place).map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => HashError::Busy,
            mpsc::error::TrySendError::Closed(()) => HashError::Failed,
        })
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: &str) -> Result<PasswordHash, HashError> {
        let (answer, answered) = oneshot::channel();
        self.place()?.0.send(Job::Hash { password: password.into(), answer });
        answered.await.ok().flatten().ok_or(HashError::Failed)
    }

    /// As [`Place::verify`], where a place is free.
    pub(crate) async fn verify(&self, password: &str, hash: Option<PasswordHash>) -> Result<bool, HashError> {
        self.place()?.verify(password, hash).await
    }
}

/// A place in the queue of what is to be hashed.
pub(crate) struct Place<'a>(mpsc::Permit<'a, Job>);

impl Place<'_> {
    /// Whether a password is the one that was hashed. It takes its time even where there is no hash.
    pub(crate) async fn verify(self, password: &str, hash: Option<PasswordHash>) -> Result<bool, HashError> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Job::Verify { password: password.into(), hash, answer });
        answered.await.map_err(|_| HashError::Failed)
    }
}

impl Job {
    /// Does the work unless nobody waits for it any more.
    fn run(self, stand_in: &PasswordHash) {
        match self {
            Self::Hash { password, answer } if !answer.is_closed() => {
                answer.send(hash(&password)).ok();
            }
            Self::Verify { password, hash, answer } if !answer.is_closed() => {
                let same = verify(&password, hash.as_ref().unwrap_or(stand_in));
                answer.send(same && hash.is_some()).ok();
            }
            Self::Hash { .. } | Self::Verify { .. } => {}
        }
    }
}

fn argon2id() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &[u8]) -> Option<PasswordHash> {
    argon2id()?.hash_password(password).ok().map(|hash| PasswordHash(hash.to_string()))
}

/// The parameters are those of the stored hash.
fn verify(password: &[u8], hash: &PasswordHash) -> bool {
    argon2id().is_some_and(|argon2| argon2.verify_password(password, hash.0.as_str()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_again_and_no_other_is() {
        let hasher = PasswordHasher::start(1, 8).unwrap();
        let hash = hasher.hash("correct horse").await.unwrap();
        assert!(hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.0);
        assert_eq!(hasher.verify("correct horse", Some(hash.clone())).await, Ok(true));
        assert_eq!(hasher.verify("correct horsf", Some(hash.clone())).await, Ok(false));
        assert_eq!(hasher.verify("nobody's password", None).await, Ok(false));
        assert_eq!(hasher.verify("correct horse", Some(PasswordHash("no hash".into()))).await, Ok(false));
        assert_ne!(hasher.hash("correct horse").await.unwrap(), hash, "every hash has its own salt");
    }

    #[tokio::test]
    async fn a_place_counts_until_it_is_given_back() {
        let hasher = PasswordHasher::start(1, 2).unwrap();
        let (one, other) = (hasher.place().unwrap(), hasher.place().unwrap());
        assert_eq!(hasher.place().err(), Some(HashError::Busy));
        drop(one);
        assert_eq!(hasher.place().unwrap().verify("guess", None).await, Ok(false));
        assert_eq!(other.verify("guess", None).await, Ok(false));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        const QUEUE: usize = 4;
        const FLOOD: usize = 200;
        let hasher = PasswordHasher::start(1, QUEUE).unwrap();
        let flood = futures_util::future::join_all((0..FLOOD).map(|_| hasher.verify("guess", None)));
        let outcomes = flood.await;
        let refused = outcomes.iter().filter(|outcome| **outcome == Err(HashError::Busy)).count();
        assert!(refused >= FLOOD - QUEUE - 2, "{refused} of {FLOOD} were refused");
        assert!(outcomes.contains(&Ok(false)));
    }
}
