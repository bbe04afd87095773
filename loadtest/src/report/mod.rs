//! What a run tells: a line a second while it runs, a summary for people, JSON for programs.

mod chaos;
mod counts;
mod live;
mod members;
pub mod model;
mod sockets;
mod summary;

pub use chaos::{ChaosReport, Felt, write_table};
pub use counts::Counts;
pub use live::{Live, line};
pub use members::{MembersReport, ReadsReport};
pub use sockets::LostSockets;
pub use summary::{Checked, Percentiles, Rates, Summary};
