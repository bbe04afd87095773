//! The one timing wheel of a worker: when which session is to be looked at.
//!
//! A session is in it about once. Who wants it earlier puts it in again; the later entry is then
//! found stale. Times are looked at a tick late, never early; those far away share a tick with others, so that a worker
//! whose sessions only live wakes up seldom.

use crate::session::SessionKey;

const TICK_MS: u64 = 50;
const SLOTS: usize = 1_024;
/// What is this many ticks away, ten seconds, is not looked at to the tick: heartbeats and such.
const FAR_TICKS: u64 = 200;
/// It is looked at in every so many ticks only, twice a second: at most a twentieth of its time late.
const FAR_STEP: u64 = 10;

/// Sessions by the moment when they are due.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<(SessionKey, u64)>>,
    /// Everything before this tick was looked at.
    tick: u64,
    /// No slot before this tick holds anything; none does at all if there is none.
    next_tick: Option<u64>,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], tick: now_ms / TICK_MS, next_tick: None }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.iter().map(Vec::len).sum()
    }

    /// To be looked at from `at_ms` on.
    pub(crate) fn insert(&mut self, session: SessionKey, at_ms: u64) {
        let is_far = at_ms.div_ceil(TICK_MS).saturating_sub(self.tick) >= FAR_TICKS;
        self.place(session, at_ms, is_far);
    }

    fn place(&mut self, session: SessionKey, at_ms: u64, is_far: bool) {
        // Beyond the horizon it is looked at once a turn and put in again.
        let horizon = self.tick + SLOTS as u64 - 1;
        let mut tick = at_ms.div_ceil(TICK_MS).clamp(self.tick, horizon);
        if is_far {
            tick = tick.next_multiple_of(FAR_STEP).min(horizon - horizon % FAR_STEP);
        }
        self.slots[slot(tick)].push((session, at_ms));
        self.next_tick = Some(self.next_tick.map_or(tick, |next| next.min(tick)));
    }

    /// When it is to be turned next; none while nothing is in it. Cheap enough to be asked for each frame.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.next_tick.map(|tick| tick * TICK_MS)
    }

    /// Takes those that are due.
    pub(crate) fn due(&mut self, now_ms: u64, due: &mut Vec<(SessionKey, u64)>) {
        let now_tick = now_ms / TICK_MS;
        let mut early = Vec::new();
        let turns_from = self.tick.max((now_tick + 1).saturating_sub(SLOTS as u64));
        for tick in turns_from..=now_tick {
            for (session, at_ms) in std::mem::take(&mut self.slots[slot(tick)]) {
                if at_ms <= now_ms { due.push((session, at_ms)) } else { early.push((session, at_ms)) }
            }
        }
        self.tick = self.tick.max(now_tick + 1);
        if self.next_tick.is_some_and(|next| next < self.tick) {
            let mut ahead = self.tick..self.tick + SLOTS as u64;
            self.next_tick = ahead.find(|tick| !self.slots[slot(*tick)].is_empty());
        }
        for (session, at_ms) in early {
            // It was beyond the horizon.
            self.place(session, at_ms, true);
        }
    }
}

fn slot(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

/// How often the wheel is to be turned at most, in milliseconds.
pub(crate) const TURN_MS: u64 = TICK_MS;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(index: u32) -> SessionKey {
        SessionKey { index, serial: 0 }
    }

    #[test]
    fn every_entry_comes_once_and_never_early_whatever_the_steps() {
        for step_ms in [1, 49, 50, 51, 777, 200_000] {
            let mut wheel = Wheel::new(0);
            let times: Vec<u64> = (0..500).map(|index| index * 397 % 150_000).collect();
            for (index, at_ms) in (0..).zip(&times) {
                wheel.insert(key(index), *at_ms);
            }
            let mut seen = vec![0; times.len()];
            let mut now_ms = 0;
            while now_ms < 400_000 {
                let mut due = Vec::new();
                wheel.due(now_ms, &mut due);
                for (session, at_ms) in due {
                    assert!(at_ms <= now_ms);
                    let late = if at_ms < FAR_TICKS * TICK_MS { TICK_MS } else { FAR_STEP * TICK_MS };
                    assert!(now_ms - at_ms <= step_ms + late, "{at_ms} came at {now_ms} in steps of {step_ms}");
                    seen[session.index as usize] += 1;
                }
                now_ms += step_ms;
            }
            assert!(seen.iter().all(|times| *times == 1), "steps of {step_ms}");
        }
    }

    #[test]
    fn whoever_turns_it_only_when_it_says_so_misses_nothing_and_turns_seldom_for_what_is_far_away() {
        let (mut wheel, mut due) = (Wheel::new(0), Vec::new());
        assert_eq!(wheel.next_ms(), None, "nothing is in it");
        let times: Vec<u64> = (0..2_000).map(|index| 120_000 + index * 17).chain([70, 3_001]).collect();
        for (index, at_ms) in (0..).zip(&times) {
            wheel.insert(key(index), *at_ms);
        }
        let (mut turns, mut came) = (0, 0);
        while let Some(next_ms) = wheel.next_ms() {
            wheel.due(next_ms, &mut due);
            turns += 1;
            for (_, at_ms) in due.drain(..) {
                let late = if at_ms < FAR_TICKS * TICK_MS { TICK_MS } else { FAR_STEP * TICK_MS };
                assert!((at_ms..=at_ms + late).contains(&next_ms), "{at_ms} came at {next_ms}");
                came += 1;
            }
        }
        assert_eq!(came, times.len());
        // 34 s of heartbeats, twice a second; before, once for all of them for each time that the wheel went round.
        assert!(turns <= 2 + 3 + 2 * 34 + 2, "{turns} turns");
        wheel.insert(key(0), 500_000);
        let far = wheel.next_ms();
        wheel.insert(key(0), 200_000);
        assert!(wheel.next_ms() < far, "an earlier one counts at once");
    }
}
