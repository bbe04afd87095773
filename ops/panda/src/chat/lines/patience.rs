//! How long a script waits: for one thing after the other, each as long as it was told.

use std::time::Duration;

use tokio::time::Instant;

/// What a script may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The first connection.
    Connection,
    /// That a line can go.
    Turn,
    /// Behind its last line, that all are answered.
    Answers,
}

/// How long it still waits.
#[derive(Debug)]
pub(super) struct Patience {
    /// The most for one thing; a person needs none, and waits without end.
    most: Option<Duration>,
    /// What is waited for, and until when.
    now: Option<(Awaited, Instant)>,
}

impl Patience {
    pub(super) const fn new(most: Option<Duration>) -> Self {
        Self { most, now: None }
    }

    /// This is waited for, or nothing. The time begins anew with each.
    pub(super) fn awaits(&mut self, awaited: Option<Awaited>, now: Instant) {
        if self.awaited() != awaited {
            self.now = awaited.zip(self.most.map(|most| now + most));
        }
    }

    /// What is waited for.
    pub(super) fn awaited(&self) -> Option<Awaited> {
        self.now.map(|(awaited, _)| awaited)
    }

    /// When it has been waited for long enough.
    pub(super) fn until(&self) -> Option<Instant> {
        self.now.map(|(_, until)| until)
    }

    /// The most in seconds.
    pub(super) fn seconds(&self) -> u64 {
        self.most.unwrap_or_default().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_script_waits_for_each_thing_as_long_as_it_was_told_and_a_person_without_end() {
        let began = Instant::now();
        let mut patience = Patience::new(Some(30 * SECOND));
        patience.awaits(Some(Awaited::Connection), began);
        patience.awaits(Some(Awaited::Connection), began + 20 * SECOND);
        assert_eq!(patience.until(), Some(began + 30 * SECOND));
        patience.awaits(Some(Awaited::Turn), began + 29 * SECOND);
        assert_eq!(patience.until(), Some(began + 59 * SECOND));
        patience.awaits(None, began + 30 * SECOND);
        assert_eq!((patience.awaited(), patience.until()), (None, None));
        // The next line that cannot go.
        patience.awaits(Some(Awaited::Turn), began + 50 * SECOND);
        assert_eq!(patience.until(), Some(began + 80 * SECOND));
        let mut person = Patience::new(None);
        person.awaits(Some(Awaited::Turn), began);
        assert_eq!(person.until(), None);
    }
}
