//! Sets of lanes.

/// Lanes of one hub.
pub const HUB_LANES_MAX: u8 = 64;

/// A set of lanes, each below [`HUB_LANES_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lanes(u64);

impl Lanes {
    /// The lanes below `count`.
    pub(super) fn below(count: u8) -> Self {
        Self(if count >= HUB_LANES_MAX { u64::MAX } else { (1 << count) - 1 })
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn contains(self, lane: u8) -> bool {
        self.0 & bit(lane) != 0
    }

    pub(super) fn insert(&mut self, lane: u8) {
        self.0 |= bit(lane);
    }

    pub(super) fn remove(&mut self, lane: u8) {
        self.0 &= !bit(lane);
    }

    /// From the lowest on.
    pub(super) fn iter(self) -> impl Iterator<Item = u8> {
        (0..HUB_LANES_MAX).filter(move |lane| self.contains(*lane))
    }
}

/// No bit for a lane that a hub cannot have.
fn bit(lane: u8) -> u64 {
    1_u64.checked_shl(u32::from(lane)).unwrap_or(0)
}
