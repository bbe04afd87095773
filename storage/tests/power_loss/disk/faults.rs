//! Calls that fail: which, and with what error.

use std::io;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Calls of a burst.
const BURST_CALLS_MAX: usize = 40;
/// What a disk answers that cannot do what it is asked (EIO).
const IO_ERROR: i32 = 5;

/// Makes calls fail from one on.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    /// Calls that still go well.
    wait: usize,
    /// Calls after the first failure that may fail too.
    span: usize,
    /// Whether all of these do; otherwise every other one, by chance.
    all: bool,
    /// The disk is full; otherwise it does not work. What only reads works on a full disk.
    full: bool,
    failed: bool,
    random: StdRng,
}

impl Faults {
    /// One call fails.
    pub(crate) fn once(wait: usize, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        Self { wait, span: 0, all: true, full: random.random(), failed: false, random }
    }

    /// Some of the calls behind it fail too.
    pub(crate) fn burst(wait: usize, seed: u64) -> Self {
        let mut this = Self::once(wait, seed);
        this.span = this.random.random_range(1..BURST_CALLS_MAX);
        this.all = this.random.random_range(0..4) == 0;
        this
    }

    /// All calls behind it fail, until the next start.
    pub(crate) fn for_good(wait: usize, seed: u64) -> Self {
        Self { span: usize::MAX, ..Self::once(wait, seed) }
    }

    /// Whether one call has failed.
    pub(crate) const fn have_failed(&self) -> bool {
        self.failed
    }

    pub(crate) const fn are_for_good(&self) -> bool {
        self.span == usize::MAX
    }

    /// One call, that changes something or only reads.
    pub(super) fn call(&mut self, changes: bool) -> io::Result<()> {
        if self.wait > 0 {
            self.wait -= 1;
            return Ok(());
        }
        let fails = if !self.failed {
            true
        } else if self.span == 0 {
            false
        } else {
            self.span -= usize::from(!self.are_for_good());
            self.all || self.random.random()
        };
        if !fails || (self.full && !changes) {
            return Ok(());
        }
        self.failed = true;
        Err(if self.full { io::ErrorKind::StorageFull.into() } else { io::Error::from_raw_os_error(IO_ERROR) })
    }
}
