//! Loads a Panda server and proves that nothing was lost, doubled, reordered or altered.
//!
//! Pure: [`schedule`] (when a send is due), [`checker`] (what must hold), [`series`] (when all was well),
//! [`chaos::plan`] (which faults), [`transcript`]. The rest does I/O through `panda-client` and the HTTP
//! API, as any client does.

pub mod agent;
pub mod api;
pub mod chaos;
pub mod checker;
pub mod cli;
pub mod ending;
pub mod engine;
pub mod history;
pub mod lean;
pub mod limits;
pub mod output;
pub mod provision;
pub mod recorder;
pub mod report;
pub mod run;
pub mod scenario;
pub mod scenario_file;
pub mod schedule;
pub mod series;
pub mod session;
pub mod thresholds;
pub mod transcript;
