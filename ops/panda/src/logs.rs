//! Logs: human on a terminal, one JSON object a line otherwise, always to standard error.

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts the log of this process.
///
/// # Errors
/// A level that is no filter.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.level).with_context(|| format!("read `log.level` = `{}`", config.level))?;
    let human = match config.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    if human {
        builder.with_ansi(stderr().is_terminal()).with_target(false).init();
    } else {
        builder.json().flatten_event(true).init();
    }
    Ok(())
}
