//! Clients end on threads of their own: that waits for the threads of the client library, which may wait for a broker.

use crate::error::StoreError;

/// Drops what may block while it ends.
pub(super) fn drop_elsewhere<T: Send + 'static>(what: &'static str, ending: T) {
    let thread = std::thread::Builder::new().name(format!("kafka-end-{what}"));
    if let Err(error) = thread.spawn(move || drop(ending)) {
        // What the thread was to drop was dropped here.
        tracing::warn!(%error, "a client of the brokers ended on a busy thread");
    }
}

/// A client that ends elsewhere wherever it is dropped: by the last of several holders, by one that gave up
/// waiting, or on the way out with an error.
pub(super) struct Elsewhere<T: Send + 'static> {
    what: &'static str,
    /// Present until it is dropped.
    held: Option<T>,
}

impl<T: Send + 'static> Elsewhere<T> {
    /// `what` names its last thread.
    pub(super) fn new(what: &'static str, held: T) -> Self {
        Self { what, held: Some(held) }
    }

    /// The client.
    ///
    /// # Errors
    /// [`StoreError::Closed`] while it is dropped, which nobody sees who holds it.
    pub(super) fn get(&self) -> Result<&T, StoreError> {
        self.held.as_ref().ok_or(StoreError::Closed)
    }
}

impl<T: Send + 'static> Drop for Elsewhere<T> {
    fn drop(&mut self) {
        drop_elsewhere(self.what, self.held.take());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::current;
    use std::time::Duration;

    use super::*;

    /// Tells on which thread it was dropped.
    struct Told(Sender<Option<String>>);

    impl Drop for Told {
        fn drop(&mut self) {
            self.0.send(current().name().map(str::to_owned)).expect("the test waits");
        }
    }

    #[tokio::test]
    async fn who_drops_the_last_of_a_client_or_gives_up_waiting_for_it_does_not_end_it() {
        let (tell, told) = channel();
        let client = Arc::new(Elsewhere::new("test", Told(tell)));
        assert!(client.get().is_ok());
        let waits = {
            let client = Arc::clone(&client);
            async move {
                std::future::pending::<()>().await;
                drop(client);
            }
        };
        drop(client);
        assert!(told.try_recv().is_err(), "somebody holds it");
        assert!(tokio::time::timeout(Duration::from_millis(1), waits).await.is_err());
        let thread = told.recv_timeout(Duration::from_secs(20)).expect("it ends");
        assert_eq!(thread.as_deref(), Some("kafka-end-test"));
    }
}
