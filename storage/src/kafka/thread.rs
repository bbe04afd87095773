//! Threads whose break somebody hears of.

use std::any::Any;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;

use tokio::sync::watch;

use crate::error::StoreError;

/// Where the threads of a log tell that they broke.
#[derive(Clone)]
pub(super) struct Breaks {
    first: watch::Sender<Option<StoreError>>,
}

impl Breaks {
    pub(super) fn new() -> Self {
        Self { first: watch::Sender::new(None) }
    }

    pub(super) fn tell(&self, why: StoreError) {
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(why);
            }
            is_first
        });
    }

    pub(super) fn hear(&self) -> KafkaLogBreak {
        KafkaLogBreak { first: self.first.subscribe() }
    }
}

/// Hears when a log lost one of its threads: it would take no more records, or give none.
pub struct KafkaLogBreak {
    first: watch::Receiver<Option<StoreError>>,
}

impl KafkaLogBreak {
    /// Waits for the first break, and never resolves if the log ends without one. Cancel safe.
    pub async fn told(&mut self) -> StoreError {
        let first = match self.first.wait_for(Option::is_some).await {
            Ok(first) => first.clone(),
            Err(_) => None,
        };
        match first {
            Some(why) => why,
            None => pending().await,
        }
    }
}

/// Runs something on a thread of its own. If it panics, `broken` is told, with what no waiting mends: whoever
/// waits for what that thread would have said must not wait for ever.
///
/// # Errors
/// [`StoreError::Unavailable`]: the system gives no thread.
pub(super) fn start(
    name: &'static str,
    run: impl FnOnce() + Send + 'static,
    broken: impl FnOnce(StoreError) + Send + 'static,
) -> Result<(), StoreError> {
    let guarded = move || {
        // What `run` shares is looked at by `broken` only to say that it is over.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
            let error = StoreError::Broken(format!("thread {name} panicked: {}", said(panic.as_ref())));
            tracing::error!(%error, "a thread of the command log broke");
            broken(error);
        }
    };
    match Builder::new().name(name.into()).spawn(guarded) {
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::Unavailable(format!("no thread {name}: {error}"))),
    }
}

/// What a panic says of itself.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it does not say why")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_that_panics_is_told_of_and_one_that_ends_is_not() {
        let (heard, told) = channel();
        let hears =
            |heard: std::sync::mpsc::Sender<String>| move |error: StoreError| heard.send(error.to_string()).unwrap();
        start("breaks", || panic!("shard {} of none", 7), hears(heard.clone())).unwrap();
        let error = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(error.contains("breaks") && error.contains("shard 7 of none"), "{error}");
        start("ends", || (), hears(heard)).unwrap();
        // Its end drops what would have been told with.
        assert!(told.recv_timeout(Duration::from_secs(20)).is_err());
    }

    #[tokio::test]
    async fn the_first_break_of_a_log_is_heard_and_its_end_is_none() {
        let breaks = Breaks::new();
        let (mut early, mut also) = (breaks.hear(), breaks.hear());
        for what in ["first", "second"] {
            let tells = breaks.clone();
            let (ended, end) = channel();
            let told = move |error| {
                tells.tell(error);
                ended.send(()).unwrap();
            };
            start("breaks", move || panic!("{what}"), told).unwrap();
            end.recv_timeout(Duration::from_secs(20)).unwrap();
        }
        assert!(early.told().await.to_string().contains("first"));
        drop(breaks);
        assert!(also.told().await.to_string().contains("first"), "who comes late hears it, too");
        let mut whole = Breaks::new().hear();
        assert!(futures_util::poll!(std::pin::pin!(whole.told())).is_pending());
    }
}
