//! An edge's side of its links to the routers: commands, reads and admissions, and their answers.
//!
//! [`hub::Hub`] keeps the links of a process to routers on other machines and shares them among its workers.
//!
//! [`Links`] is the core: one owner, no channel, no clock. [`LinkClient`] wraps it for those who want
//! to await an answer. Neither decides anything: they number what goes up, remember who waits for the
//! answer, and keep what is out within limits.

mod client;
pub mod hub;
mod links;
mod traced;
mod waiting;

pub use client::{LinkCaller, LinkClient, LinkDriver};
pub use links::{Arrived, CommandRefused, LinkLimits, Links};
pub use waiting::lane_of;
