//! The versions of the rules that a router knows.

use std::fmt;

use panda_protocol::event::Event;
use panda_protocol::link::Record;
use panda_protocol::{Position, Time};

use crate::fold::{self, Decision, RULES_CURRENT};
use crate::rows::Rows;

/// As [`fold::apply`]: makes the events of a record under a version of the rules, or says why there are
/// none.
pub type Apply = fn(u16, &dyn Rows, &Record, Position, Time) -> Result<Vec<Event>, Decision>;

/// What one release of the router knows. It is a value of the shard, so that owners of different
/// releases can meet in one test.
#[derive(Clone, Copy)]
pub struct Rulebook {
    /// The newest version; the older ones are known, too.
    pub newest: u16,
    /// How records are decided under each of them.
    pub apply: Apply,
}

impl Default for Rulebook {
    fn default() -> Self {
        Self { newest: RULES_CURRENT, apply: fold::apply }
    }
}

impl fmt::Debug for Rulebook {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Rulebook").field("newest", &self.newest).finish_non_exhaustive()
    }
}
