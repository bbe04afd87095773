//! What a run tells: a line a second while it runs, a summary for people, JSON for programs, a page to look at; and what is
//! done with reports afterwards.

pub mod capacity;
mod chaos;
pub mod compare;
mod counts;
pub mod dashboard;
pub mod growth;
mod history;
pub mod html;
mod live;
mod logins;
mod machine;
mod meanwhile;
mod members;
pub mod model;
mod processes;
pub mod reading;
mod seconds;
mod slow;
mod sockets;
mod storm;
mod summary;
mod within;

pub use chaos::{ChaosReport, Felt, write_table};
pub use counts::Counts;
pub use history::HistoryReport;
pub use live::{Live, line};
pub use logins::LoginsReport;
pub use meanwhile::Meanwhile;
pub use members::{MembersReport, ReadsReport};
pub use processes::{Processes, WATCHED_MAX, Watched};
pub use reading::Reading;
pub use seconds::{ENTRIES_MAX, Seconds};
pub use slow::SlowReport;
pub use sockets::LostSockets;
pub use storm::{BUSY_SHARE, EdgeUse, StormCost, StormReport};
pub use summary::{Checked, Percentiles, Rates, Summary};
