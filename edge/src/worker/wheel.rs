//! The one timing wheel of a worker: when which session is to be looked at.
//!
//! A session is in it about once. Who wants it earlier puts it in again; the later entry is then
//! found stale. Times are looked at a tick late, never early.

use crate::session::SessionKey;

const TICK_MS: u64 = 50;
const SLOTS: usize = 1_024;

/// Sessions by the moment when they are due.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<(SessionKey, u64)>>,
    /// Everything before this tick was looked at.
    tick: u64,
}

impl Wheel {
    pub(crate) fn new(now_ms: u64) -> Self {
        Self { slots: vec![Vec::new(); SLOTS], tick: now_ms / TICK_MS }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.iter().map(Vec::len).sum()
    }

    /// To be looked at from `at_ms` on.
    pub(crate) fn insert(&mut self, session: SessionKey, at_ms: u64) {
        // Beyond the horizon it is looked at once a turn and put in again.
        let tick = at_ms.div_ceil(TICK_MS).clamp(self.tick, self.tick + SLOTS as u64 - 1);
        self.slots[slot(tick)].push((session, at_ms));
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
        for (session, at_ms) in early {
            self.insert(session, at_ms);
        }
    }
}

fn slot(tick: u64) -> usize {
    usize::try_from(tick % SLOTS as u64).unwrap_or(0)
}

/// How often the wheel is to be turned, in milliseconds.
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
                    assert!(now_ms - at_ms <= step_ms + TICK_MS, "{at_ms} came at {now_ms} in steps of {step_ms}");
                    seen[session.index as usize] += 1;
                }
                now_ms += step_ms;
            }
            assert!(seen.iter().all(|times| *times == 1), "steps of {step_ms}");
        }
    }
}
