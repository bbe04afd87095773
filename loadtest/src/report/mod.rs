//! What a run tells: a line a second while it runs, a summary for people, JSON for programs.

mod chaos;
mod live;
mod members;
mod summary;

pub use chaos::{ChaosReport, Counts, Felt, write_table};
pub use live::{Live, line};
pub use members::{MembersReport, ReadsReport};
pub use summary::{Checked, Percentiles, Rates, Summary};
