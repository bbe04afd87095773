//! What of all that was not synced is there after a loss of power: the system may have written any
//! part of it, in any order.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// How many of the last changes a disk that keeps their order may still have had before it.
const LATE_CHANGES: u64 = 60;

#[derive(Debug)]
pub(crate) struct Survival {
    way: Way,
    random: StdRng,
    /// Whether the page at hand was written back.
    keeps_page: bool,
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Nothing,
    Everything,
    /// All that was done before this time.
    Until(u64),
    /// Each page as it was last written, or not at all.
    Pages,
    /// Each sector in any version that it ever had.
    Sectors,
}

impl Survival {
    pub(crate) fn all() -> Self {
        Self { way: Way::Everything, random: StdRng::seed_from_u64(0), keeps_page: true }
    }

    /// Any way, for a disk on which `time` changes were made.
    pub(crate) fn any(mut random: StdRng, time: u64) -> Self {
        let way = match random.random_range(0..8) {
            0 => Way::Nothing,
            1 => Way::Everything,
            2 | 3 => Way::Until(time.saturating_sub(random.random_range(0..LATE_CHANGES))),
            4 | 5 => Way::Pages,
            _ => Way::Sectors,
        };
        Self { way, random, keeps_page: true }
    }

    /// Whether a change of names or of a length is there.
    pub(crate) fn keeps(&mut self, time: u64) -> bool {
        match self.way {
            Way::Nothing => false,
            Way::Everything => true,
            Way::Until(end) => time < end,
            Way::Pages | Way::Sectors => self.random.random(),
        }
    }

    pub(crate) fn next_page(&mut self) {
        self.keeps_page = self.random.random();
    }

    /// Which version of a sector is there; none: the synced one.
    pub(crate) fn version<T: Clone>(&mut self, versions: &[(u64, T)]) -> Option<T> {
        let kept = match self.way {
            Way::Nothing => 0,
            Way::Everything => versions.len(),
            Way::Until(end) => versions.iter().take_while(|(time, _)| *time < end).count(),
            Way::Pages => {
                if self.keeps_page {
                    versions.len()
                } else {
                    0
                }
            }
            Way::Sectors => self.random.random_range(0..=versions.len()),
        };
        kept.checked_sub(1).map(|index| versions[index].1.clone())
    }
}
