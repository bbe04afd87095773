//! The sockets of one run; the engine is `panda_loadtest::engine`.

pub use panda_loadtest::engine::{Connection, Happened};

use crate::adapter::Adapter;

/// With the adapter of the peer that is measured.
pub type Engine = panda_loadtest::engine::Engine<dyn Adapter>;
