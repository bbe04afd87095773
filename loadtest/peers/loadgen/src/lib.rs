//! Measures servers from outside, Panda among them, with one load generator in one run on one machine.
//!
//! A comparison is only as good as what is the same on both sides: here the workloads, the clocks, the sockets and what is
//! counted are the same code for every server, and what differs is one file each in [`adapter`]. Everything runs on one
//! thread over one epoll, because the generator has one core beside the server's and must not be what limits: it is
//! several times cheaper than any server that it measures, and says so (`client_cpu_pct`).
//!
//! Pure: [`websocket`], [`payload`], [`schedule`], [`latency`], [`plan`] and the parsing of adapters. The rest does I/O.

pub mod adapter;
pub mod cli;
pub mod engine;
pub mod floor;
pub mod latency;
pub mod meter;
pub mod plan;
pub mod procfs;
pub mod row;
pub mod schedule;
pub mod workload;

pub use panda_loadtest::engine::{clock, payload, tls, websocket};
