//! Threads whose break somebody hears of.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;

use crate::error::StoreError;

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
}
