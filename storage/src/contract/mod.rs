//! What every implementation of a trait must keep, one suite a trait, generic over the implementation,
//! and what their tests on real servers share.

use std::io::Write as _;

pub(crate) mod accounts;
pub(crate) mod api_keys;
pub(crate) mod cache;
pub(crate) mod command_log;
pub(crate) mod entities;
pub(crate) mod epochs;
pub(crate) mod events;
pub(crate) mod failures;
pub(crate) mod identities;
pub(crate) mod logins;
pub(crate) mod own_cluster;
pub(crate) mod ownership;
pub(crate) mod proxy;
pub(crate) mod signing_keys;
pub(crate) mod users;

/// The URL of the server that tests of `what` may use as they like. A test that needs one and has none
/// says so, past the harness that would hide it, and ends.
pub(crate) fn test_server(what: &str, variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok().filter(|url| !url.is_empty());
    if url.is_none() {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let line = format!("skipped, because {variable} names no {what} server: {test}\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
    }
    url
}
