//! Logs: human on a terminal, one JSON object a line otherwise, always to standard error.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// The event store's driver writes three lines for every try to reach a node that is away, an ERROR among them, each
/// second. What refuses its writes meanwhile says so itself, and an ERROR is for what a human must look at.
const DRIVERS_TRIES: &str = "scylla::cluster::metadata::cc_establisher";

/// Starts the log of this process.
///
/// # Errors
/// A level that is no filter.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let filter = filter(&config.level)?;
    let human = match config.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if human {
        builder.with_ansi(stderr().is_terminal()).with_target(false).init();
    } else {
        builder.json().flatten_event(true).with_span_list(false).init();
    }
    Ok(())
}

/// What is written at a level or a filter: a filter that speaks of the driver has its way.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    let quiet = if level.contains("scylla") { level.to_owned() } else { format!("{DRIVERS_TRIES}=off,{level}") };
    EnvFilter::try_new(quiet).with_context(|| format!("read `log.level` = `{level}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_of_the_driver_are_written_only_where_they_are_asked_for() {
        assert!(filter("info").unwrap().to_string().contains("cc_establisher=off"));
        assert!(!filter("info,scylla=debug").unwrap().to_string().contains("off"));
        assert!(filter("panda=loud").is_err());
    }
}
