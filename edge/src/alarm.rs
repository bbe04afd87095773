//! What a process that accepts connections cannot be without, and who hears when it ends.

use tokio::sync::mpsc;

/// Held by a part for as long as it works: dropping it raises the alarm, a panic's unwinding included.
#[derive(Clone)]
pub(crate) struct Alarm {
    raised: mpsc::Sender<()>,
}

/// Hears the alarms of all parts.
#[derive(Debug)]
pub(crate) struct Alarms {
    raise: mpsc::Sender<()>,
    raised: mpsc::Receiver<()>,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // One that is there already says the same.
        self.raised.try_send(()).ok();
    }
}

impl Alarms {
    pub(crate) fn new() -> Self {
        let (raise, raised) = mpsc::channel(1);
        Self { raise, raised }
    }

    /// One for a part.
    pub(crate) fn alarm(&self) -> Alarm {
        Alarm { raised: self.raise.clone() }
    }

    /// Waits until a part ends. Cancel safe.
    pub(crate) async fn heard(&mut self) {
        self.raised.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_heard_while_the_others_work() {
        let mut alarms = Alarms::new();
        let (works, breaks) = (alarms.alarm(), alarms.alarm());
        assert!(poll!(pin!(alarms.heard())).is_pending());
        let part = tokio::spawn(async move {
            let _raised = breaks;
            panic!("it broke");
        });
        alarms.heard().await;
        assert!(part.await.is_err());
        drop(works);
    }
}
