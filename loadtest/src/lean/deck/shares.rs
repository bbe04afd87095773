//! Shares of all sessions that leave for long, or read nothing for a while, and what ends it.

use anyhow::Result;

use super::{Deck, NONE};
use crate::engine::clock::now;

impl Deck {
    /// So many of a hundred sessions leave until [`Self::come_back`].
    pub fn leave_for_long(&mut self, percent: f64) {
        let seats = 0..u32::try_from(self.connection_of.len()).unwrap_or(u32::MAX);
        for seat in seats {
            let user = self.engine.driver().seats()[seat as usize].user;
            let id = self.connection_of[seat as usize];
            if id != NONE && leaves(user, percent) {
                self.engine.close(id);
                self.leave(id);
                self.absent.insert(seat);
            }
        }
    }

    /// Those who left come back, as fast as they can be let in.
    pub fn come_back(&mut self) {
        self.catching_up.extend(&self.absent);
        self.to_open.extend(self.absent.drain());
    }

    /// So many of a hundred sessions read nothing more, until [`Self::read_on`]. Their heartbeats still leave.
    ///
    /// # Errors
    /// What the kernel says of the epoll.
    pub fn stall(&mut self, percent: f64) -> Result<()> {
        for seat in 0..u32::try_from(self.connection_of.len())? {
            let id = self.connection_of[seat as usize];
            let driver = self.engine.driver();
            let place = &driver.seats()[seat as usize];
            let (user, is_ready) = (place.user, place.is_ready);
            if id != NONE && is_ready && leaves(user, percent) {
                driver.stall(seat);
                self.engine.stall(id, true)?;
            }
        }
        Ok(())
    }

    /// They read again.
    ///
    /// # Errors
    /// What the kernel says of the epoll.
    pub fn read_on(&mut self) -> Result<()> {
        for seat in self.engine.driver().read_on(now()) {
            self.engine.stall(self.connection_of[seat as usize], false)?;
        }
        Ok(())
    }
}

/// Whether a user is among so many of a hundred; the same ones always, in every chat and on every agent.
pub(super) fn leaves(user: u32, percent: f64) -> bool {
    f64::from(user.wrapping_mul(2_654_435_769) >> 8) < percent / 100.0 * f64::from(1_u32 << 24)
}
