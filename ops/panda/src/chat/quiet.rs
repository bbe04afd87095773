//! A terminal that does not show what is typed while nobody reads it.

use std::io;

use rustix::termios::{LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};

/// Standard input does not show what is typed until this is dropped; what was typed meanwhile is then forgotten, and
/// reaches no shell.
pub(super) struct Quiet {
    before: Termios,
}

impl Quiet {
    /// Begins.
    ///
    /// # Errors
    /// Standard input is no terminal, or does not let itself be changed.
    pub(super) fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &quiet)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs none.
        tcsetattr(io::stdin(), OptionalActions::Flush, &self.before).ok();
    }
}

/// Forgets what was typed and not read.
pub(super) fn forget_typed() {
    // A terminal that is gone holds nothing.
    tcflush(io::stdin(), QueueSelector::IFlush).ok();
}
