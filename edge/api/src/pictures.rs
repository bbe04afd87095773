//! Pictures of people: made anew of what somebody sent, on a thread of its own, and kept where the deployment keeps them.
//!
//! Nothing about a picture that somebody sends is believed. Its decoder works behind limits, on one thread that waits for
//! everything else the process does, and what it breaks breaks that picture alone.

mod render;

use std::collections::HashSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use panda_protocol::UserId;
use panda_storage::PictureStore;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

pub(crate) use render::{RenderError, Rendered};

/// Pictures that are sent at a time, by different users; their bytes are in memory meanwhile.
pub(crate) const UPLOADS_MAX: usize = 8;
/// How much the thread stands back behind others; of 19.
const NICENESS: i32 = 10;

/// Why no picture was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PictureError {
    /// What was sent is not taken.
    Refused(RenderError),
    /// The thread is gone.
    Failed,
}

struct Job {
    sent: Bytes,
    answer: oneshot::Sender<Result<Rendered, RenderError>>,
}

/// Where pictures are kept, and the thread that makes them; it ends once this is dropped.
pub(crate) struct Pictures {
    pub(crate) store: PictureStore,
    jobs: mpsc::Sender<Job>,
    uploading: Arc<Mutex<HashSet<UserId>>>,
}

/// The right to send one picture, until it is dropped.
pub(crate) struct Upload {
    user: UserId,
    uploading: Arc<Mutex<HashSet<UserId>>>,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.uploading.lock().remove(&self.user);
    }
}

impl Pictures {
    pub(crate) fn start(store: PictureStore) -> io::Result<Self> {
        // No more wait than may be sent.
        let (jobs, mut queue) = mpsc::channel::<Job>(UPLOADS_MAX);
        let run = move || {
            stand_back();
            while let Some(Job { sent, answer }) = queue.blocking_recv() {
                if !answer.is_closed() {
                    answer.send(harmless(&sent)).ok();
                }
            }
        };
        thread::Builder::new().name("pictures".into()).spawn(run)?;
        Ok(Self { store, jobs, uploading: Arc::default() })
    }

    /// A place for a picture that this user sends; none: all are taken, or the user has one.
    pub(crate) fn begin(&self, user: UserId) -> Option<Upload> {
        let mut uploading = self.uploading.lock();
        if uploading.len() >= UPLOADS_MAX || !uploading.insert(user) {
            return None;
        }
        Some(Upload { user, uploading: Arc::clone(&self.uploading) })
    }

    /// Makes the picture that is kept. Whoever goes away meanwhile leaves work that is not begun undone.
    pub(crate) async fn render(&self, sent: Bytes) -> Result<Rendered, PictureError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job { sent, answer }).await.map_err(|_| PictureError::Failed)?;
        answered.await.map_err(|_| PictureError::Failed)?.map_err(PictureError::Refused)
    }
}

/// A decoder that breaks says that this was no picture.
fn harmless(sent: &[u8]) -> Result<Rendered, RenderError> {
    catch_unwind(AssertUnwindSafe(|| render::render(sent))).unwrap_or_else(|_| {
        tracing::error!(bytes = sent.len(), "a picture broke its decoder; it was refused, and nothing else happened");
        Err(RenderError::Form)
    })
}

/// Lets everything else of this process go first: a picture can wait.
fn stand_back() {
    let this = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(this), NICENESS) {
        tracing::debug!(%error, "the thread of pictures runs like all others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures(folder: &std::path::Path) -> Pictures {
        Pictures::start(PictureStore::in_folder(folder).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_user_sends_one_at_a_time_and_all_users_a_few() {
        let folder = tempfile::tempdir().unwrap();
        let pictures = pictures(folder.path());
        let user = |number: u8| UserId::from_random([number; 16]);
        let first = pictures.begin(user(0)).unwrap();
        assert!(pictures.begin(user(0)).is_none());
        let others: Vec<_> = (1..8).map(|number| pictures.begin(user(number)).unwrap()).collect();
        assert_eq!(others.len() + 1, UPLOADS_MAX);
        assert!(pictures.begin(user(100)).is_none());
        drop(first);
        assert!(pictures.begin(user(0)).is_some());
    }

    #[tokio::test]
    async fn what_is_refused_leaves_the_thread_to_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let pictures = pictures(folder.path());
        for _ in 0..3 {
            let refused = pictures.render(Bytes::from_static(b"no picture")).await;
            assert_eq!(refused, Err(PictureError::Refused(RenderError::Form)));
        }
    }
}
