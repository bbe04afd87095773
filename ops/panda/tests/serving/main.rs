//! A `panda serve`, asked over HTTP and by clients.
#![expect(clippy::unwrap_used, reason = "a test's panic is its failure")]

mod http_table;
mod signing_keys;
mod support;
mod traces;
