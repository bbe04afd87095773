//! What became of sends, by the moment at which they were due: whether all was well then, since when it
//! has been, and how long the longest of them took. Pure; bounded, however long a run is.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

/// Sends are counted together that were due within so long.
pub const SLICE: Duration = Duration::from_millis(100);
/// All has been well for so long before it counts as calm.
pub const CALM: Duration = Duration::from_secs(2);
/// Slices that are kept: 20 minutes. Older ones are forgotten, and what still comes of them is only timed.
pub const SLICES_MAX: usize = 12_000;

/// Sends that were due in one slice.
#[derive(Clone, Copy, Debug, Default)]
struct Slice {
    due: u32,
    acked: u32,
    /// Deliveries that the acked ones owe: one a listening session.
    owed: u64,
    delivered: u64,
    slow: bool,
}

impl Slice {
    const fn is_well(&self) -> bool {
        self.due == self.acked && self.owed == self.delivered && !self.slow
    }
}

/// The longest times since [`Series::take_longest`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Longest {
    /// Send due to ack.
    pub ack: Duration,
    /// Send due to delivery, of every session.
    pub delivery: Duration,
}

/// Sends by when they were due. Times are on the run's clock.
#[derive(Debug)]
pub struct Series {
    bound: Duration,
    /// Sessions that listen to a chat, by its number.
    listeners: Vec<u32>,
    /// The number of the first kept slice since the clock began.
    first: u64,
    slices: VecDeque<Slice>,
    /// No send that was due before this is still to be told.
    told_to: Duration,
    longest: Longest,
}

impl Series {
    /// Acks and deliveries within `bound` count as well. `listeners` are the sessions of each chat; sends
    /// begin at `now`.
    pub const fn new(bound: Duration, listeners: Vec<u32>, now: Duration) -> Self {
        let longest = Longest { ack: Duration::ZERO, delivery: Duration::ZERO };
        Self { bound, listeners, first: number(now), slices: VecDeque::new(), told_to: now, longest }
    }

    /// A send was due. They are told in the order in which they were due.
    pub fn due(&mut self, at: Duration) {
        if let Some(slice) = self.slice(at) {
            slice.due += 1;
        }
        self.told_to = self.told_to.max(at);
    }

    /// A send of chat `chat` was acked at `now`, so long after it was due.
    pub fn acked(&mut self, chat: usize, after: Duration, now: Duration) {
        self.longest.ack = self.longest.ack.max(after);
        let (slow, owed) = (after > self.bound, self.listeners.get(chat).copied().unwrap_or(0));
        if let Some(slice) = self.slice(now.saturating_sub(after)) {
            slice.acked += 1;
            slice.owed += u64::from(owed);
            slice.slow |= slow;
        }
    }

    /// A session got an event at `now`, so long after its send was due.
    pub fn delivered(&mut self, after: Duration, now: Duration) {
        self.longest.delivery = self.longest.delivery.max(after);
        let slow = after > self.bound;
        if let Some(slice) = self.slice(now.saturating_sub(after)) {
            slice.delivered += 1;
            slice.slow |= slow;
        }
    }

    /// The longest times since the last call.
    pub fn take_longest(&mut self) -> Longest {
        core::mem::take(&mut self.longest)
    }

    /// The longest wait for an ack since the last call of [`Self::take_longest`], of sends that were due since `from` and
    /// still wait, too.
    pub fn longest_ack(&self, from: Duration, now: Duration) -> Duration {
        let waits = self.waits(from, now, |slice| slice.acked < slice.due);
        self.longest.ack.max(waits)
    }

    /// The first moment behind the first trouble since `from` from which everything was well for [`CALM`];
    /// `from` if there was no trouble. A fault may take a while to be felt.
    pub fn calm_from(&self, from: Duration, now: Duration) -> Option<Duration> {
        let (mut troubled, mut began) = (false, None);
        for (at, slice) in self.judged(from, now) {
            if !slice.is_well() {
                (troubled, began) = (true, None);
                continue;
            }
            let began = *began.get_or_insert(at);
            if troubled && at + SLICE >= began + CALM {
                return Some(began);
            }
        }
        began.filter(|_| !troubled).map(|_| from)
    }

    /// Since when everything has been well, if that is for at least [`CALM`]; not before `from`.
    pub fn calm_since(&self, from: Duration, now: Duration) -> Option<Duration> {
        let mut calm: Option<(Duration, Duration)> = None;
        for (at, slice) in self.judged(from, now) {
            calm = slice.is_well().then(|| (calm.map_or(at, |(began, _)| began), at + SLICE));
        }
        calm.filter(|(began, end)| *end >= *began + CALM).map(|(began, _)| began)
    }

    /// How long, all together, not everything was well from `from` to now.
    pub fn disturbed(&self, from: Duration, now: Duration) -> Duration {
        let slices = self.judged(from, now).filter(|(_, slice)| !slice.is_well()).count();
        SLICE * u32::try_from(slices).unwrap_or(u32::MAX)
    }

    /// How long the oldest send since `from` has waited for its ack, or an event for a session; zero if
    /// none does.
    pub fn waiting(&self, from: Duration, now: Duration) -> Duration {
        self.waits(from, now, |slice| slice.acked < slice.due || slice.delivered < slice.owed)
    }

    /// How long ago the oldest slice since `from` was due of which this is true.
    fn waits(&self, from: Duration, now: Duration, open: impl Fn(&Slice) -> bool) -> Duration {
        let oldest = self.judged(from, now).find(|(_, slice)| open(slice));
        oldest.map_or(Duration::ZERO, |(at, _)| now.saturating_sub(at))
    }

    /// Slices from the one of `from` on that can be judged: all their sends were told, and had their time.
    fn judged(&self, from: Duration, now: Duration) -> impl Iterator<Item = (Duration, &Slice)> {
        let end = self.told_to.min(now.saturating_sub(self.bound));
        let slices = (self.first..).zip(&self.slices).map(|(number, slice)| (start(number), slice));
        let first = start(number(from));
        slices.skip_while(move |(at, _)| *at < first).take_while(move |(at, _)| *at + SLICE <= end)
    }

    /// `None` if it was forgotten, or never was.
    fn slice(&mut self, at: Duration) -> Option<&mut Slice> {
        let place = usize::try_from(number(at).checked_sub(self.first)?).ok()?;
        if place >= self.slices.len() {
            // A stall of the tester itself does not make it allocate more.
            let passed = (place + 1).saturating_sub(SLICES_MAX);
            self.slices.drain(..passed.min(self.slices.len()));
            self.first += passed as u64;
            self.slices.resize(place + 1 - passed, Slice::default());
        }
        self.slices.get_mut(usize::try_from(number(at).checked_sub(self.first)?).ok()?)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "no run lasts for 2^64 slices")]
const fn number(at: Duration) -> u64 {
    (at.as_millis() / SLICE.as_millis()) as u64
}

fn start(number: u64) -> Duration {
    Duration::from_millis(number.saturating_mul(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(500);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Ten sends a second in one chat of two sessions. Those due in the stall come through at its end;
    /// `lost` are never acked.
    fn series(until: u64, stall: std::ops::Range<u64>, lost: std::ops::Range<u64>) -> Series {
        let mut series = Series::new(BOUND, vec![2], Duration::ZERO);
        for at in (0..until).step_by(100) {
            series.due(ms(at));
            if lost.contains(&at) {
                continue;
            }
            let now = if stall.contains(&at) { stall.end } else { at + 5 };
            series.acked(0, ms(now - at), ms(now));
            (0..2).for_each(|_| series.delivered(ms(now - at + 1), ms(now + 1)));
        }
        series
    }

    #[test]
    fn a_stall_shows_in_full_and_calm_begins_behind_it() {
        let mut series = series(20_000, 5_000..9_000, 0..0);
        let now = ms(20_000);
        assert_eq!(series.take_longest(), Longest { ack: ms(4_000), delivery: ms(4_001) });
        assert_eq!(series.take_longest(), Longest::default(), "taken once");
        assert_eq!(series.calm_from(ms(4_950), now), Some(ms(8_600)), "the last ones waited for less than the bound");
        assert_eq!(series.calm_since(ms(4_950), now), Some(ms(8_600)));
        assert_eq!(series.disturbed(ms(4_950), now), ms(3_600));
        assert_eq!(series.waiting(ms(4_950), now), Duration::ZERO);
    }

    #[test]
    fn calm_takes_two_seconds_of_slices_whose_sends_had_their_time() {
        let series = series(11_500, 5_000..9_000, 0..0);
        assert_eq!(series.calm_since(ms(5_000), ms(11_000)), None);
        assert_eq!(series.calm_since(ms(5_000), ms(11_100)), Some(ms(8_600)));
        assert_eq!(series.calm_from(ms(5_000), ms(11_000)), None);
    }

    #[test]
    fn a_second_disturbance_ends_the_calm_but_not_the_first_recovery() {
        let twice = series(10_000, 1_000..3_000, 8_000..8_100);
        assert_eq!(twice.calm_from(ms(500), ms(10_000)), Some(ms(2_600)));
        assert_eq!(twice.calm_since(ms(500), ms(10_000)), None);
        let never = series(10_000, 0..0, 0..0);
        assert_eq!(never.calm_from(ms(450), ms(10_000)), Some(ms(450)));
        let mut series = series(10_000, 0..0, 0..0);
        (0..100).for_each(|_| series.due(ms(9_950)));
        series.due(ms(10_100));
        assert_eq!(series.calm_from(Duration::ZERO, ms(12_000)), None, "not behind the trouble");
        assert_eq!(series.calm_since(Duration::ZERO, ms(12_000)), None);
        assert_eq!(series.waiting(Duration::ZERO, ms(12_000)), ms(2_100));
    }

    #[test]
    fn a_send_that_is_never_acked_or_not_delivered_to_all_is_not_well() {
        let lost = series(10_000, 0..0, 3_000..3_100);
        assert_eq!(lost.disturbed(Duration::ZERO, ms(10_000)), ms(100));
        assert_eq!(lost.waiting(Duration::ZERO, ms(10_000)), ms(7_000));
        let mut behind = series(10_000, 0..0, 0..0);
        behind.acked(0, ms(1), ms(4_001));
        assert_eq!(behind.disturbed(Duration::ZERO, ms(10_000)), ms(100), "more acks than sends: not well either");
    }

    #[test]
    fn the_longest_ack_is_also_one_that_did_not_come_yet_and_no_delivery() {
        let mut series = series(10_000, 1_000..2_500, 6_000..6_100);
        assert_eq!(series.longest_ack(Duration::ZERO, ms(6_000)), ms(1_500));
        assert_eq!(series.longest_ack(Duration::ZERO, ms(10_000)), ms(4_000), "it waits since 6 s");
        assert_eq!(series.longest_ack(ms(7_000), ms(10_000)), ms(1_500));
        series.take_longest();
        series.acked(0, ms(1), ms(4_001));
        assert_eq!(series.longest_ack(ms(3_500), ms(5_500)), ms(1), "two deliveries are owed, and no ack");
        assert_eq!(series.waiting(ms(3_500), ms(5_500)), ms(1_500));
    }

    #[test]
    fn what_is_kept_is_bounded_and_what_was_forgotten_is_only_timed() {
        let mut series = series(60_000, 0..0, 0..0);
        series.due(start(SLICES_MAX as u64 + 99));
        assert_eq!(series.slices.len(), SLICES_MAX);
        assert_eq!(series.first, 100);
        series.acked(0, ms(1_300_000), ms(1_300_100));
        assert_eq!(series.take_longest().ack, ms(1_300_000));
        series.due(Duration::from_secs(1_000_000_000));
        assert!(series.slices.len() <= SLICES_MAX);
    }
}
