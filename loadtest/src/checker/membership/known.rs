//! What was acked, by time: what an answer must show, and where a stream may begin.

use std::time::Duration;

use super::MembershipCheck;

/// Seqs of what was acked, messages and changes.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// When, and the highest seq by then; in the order of times.
    acked: Vec<(Duration, u64)>,
    /// From when on what was asked for, and the lowest seq of that; in the order of times.
    begun: Vec<(Duration, u64)>,
}

impl Known {
    pub(super) fn of(check: &MembershipCheck) -> Self {
        let sends = check.sends.values().map(|sent| (sent.asked, sent.answered));
        let changes = check.changes.iter().map(|asked| (asked.asked, asked.answered));
        let (mut acked, mut begun) = (Vec::new(), Vec::new());
        for (asked, answered) in sends.chain(changes) {
            if let Some((at, Ok(seq))) = answered {
                acked.push((at, seq));
                begun.push((asked, seq));
            }
        }
        acked.sort_unstable();
        begun.sort_unstable();
        let mut highest = 0;
        for (_, seq) in &mut acked {
            highest = highest.max(*seq);
            *seq = highest;
        }
        let mut lowest = u64::MAX;
        for (_, seq) in begun.iter_mut().rev() {
            lowest = lowest.min(*seq);
            *seq = lowest;
        }
        Self { acked, begun }
    }

    /// The highest seq that was acked by then; 0 if there is none.
    pub(super) fn by(&self, at: Duration) -> u64 {
        let count = self.acked.partition_point(|(acked, _)| *acked <= at);
        count.checked_sub(1).map_or(0, |last| self.acked[last].1)
    }

    /// The lowest seq of what was asked for from then on.
    pub(super) fn begun_from(&self, at: Duration) -> Option<u64> {
        let first = self.begun.partition_point(|(asked, _)| *asked < at);
        self.begun.get(first).map(|(_, seq)| *seq)
    }
}
