//! Which version of the rules holds where in the log.

use std::collections::VecDeque;

use panda_protocol::Position;

/// The version that holds now, and those that were raised since the checkpoint.
#[derive(Debug)]
pub(super) struct Rules {
    /// At the checkpoint.
    base: u16,
    /// Rising versions with the records that raised them, so at most as many as there are versions.
    raised: VecDeque<(Position, u16)>,
}

impl Rules {
    pub(super) fn new(base: u16) -> Self {
        Self { base, raised: VecDeque::new() }
    }

    /// For the next record.
    pub(super) fn current(&self) -> u16 {
        self.raised.back().map_or(self.base, |(_, version)| *version)
    }

    /// A record raises the version for those behind it. A lower one changes nothing.
    pub(super) fn raise(&mut self, position: Position, version: u16) {
        if version > self.current() {
            self.raised.push_back((position, version));
        }
    }

    /// For the record at `position`, which never goes back.
    pub(super) fn pass(&mut self, position: Position) -> u16 {
        while let Some((raised, version)) = self.raised.front().copied()
            && raised < position
        {
            self.base = version;
            self.raised.pop_front();
        }
        self.base
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::RULES_FIRST;

    #[test]
    fn a_version_holds_behind_the_record_that_raised_it() {
        let at = |offset| Position { epoch: 1, offset };
        let mut rules = Rules::new(RULES_FIRST);
        rules.raise(at(4), 3);
        rules.raise(at(6), 2);
        rules.raise(at(8), 5);
        assert_eq!(rules.current(), 5);
        let held: Vec<u16> = (3..10).map(|offset| rules.pass(at(offset))).collect();
        assert_eq!(held, [1, 1, 3, 3, 3, 3, 5]);
        assert_eq!(rules.current(), 5);
    }
}
