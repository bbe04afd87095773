//! Logs: human on a terminal, one JSON object a line otherwise, always to standard error.

mod traces;

use std::io::{IsTerminal, stderr};

use anyhow::Context;
use panda_storage::TRACE_TARGET;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

pub(crate) use self::traces::LeftOut;
use crate::config::{LogConfig, LogFormat};

/// The event store's driver writes three lines for every try to reach a node that is away, an ERROR among them, each
/// second. What refuses its writes meanwhile says so itself, and an ERROR is for what a human must look at.
const DRIVERS_TRIES: &str = "scylla::cluster::metadata::cc_establisher";

/// Starts the log of this process. What is returned tells of lines that are left out.
///
/// # Errors
/// A level that is no filter.
pub(crate) fn start(config: &LogConfig) -> anyhow::Result<LeftOut> {
    let filter = filter(config)?;
    let human = match config.format {
        LogFormat::Auto => stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    Ok(if human {
        limited(builder.with_ansi(stderr().is_terminal()).with_target(false).finish())
    } else {
        limited(builder.json().flatten_event(true).with_span_list(false).finish())
    })
}

/// Takes the log of this process, with its limit.
fn limited(log: impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync + 'static) -> LeftOut {
    let (layer, left_out) = LeftOut::limited();
    log.with(layer).init();
    left_out
}

/// What is written at a level or a filter: a filter that speaks of the driver has its way. Lines of traces are a matter
/// of their own key.
fn filter(config: &LogConfig) -> anyhow::Result<EnvFilter> {
    let level = &config.level;
    let quiet = if level.contains("scylla") { level.clone() } else { format!("{DRIVERS_TRIES}=off,{level}") };
    let traces = if config.traces { "info" } else { "off" };
    EnvFilter::try_new(format!("{quiet},{TRACE_TARGET}={traces}"))
        .with_context(|| format!("read `log.level` = `{level}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(level: &str, traces: bool) -> anyhow::Result<String> {
        let config = LogConfig { level: level.to_owned(), traces, ..LogConfig::default() };
        filter(&config).map(|filter| filter.to_string())
    }

    #[test]
    fn tries_of_the_driver_are_written_only_where_they_are_asked_for() {
        assert!(of("info", false).unwrap().contains("cc_establisher=off"));
        assert!(!of("info,scylla=debug", false).unwrap().contains("cc_establisher"));
        assert!(of("panda=loud", false).is_err());
    }

    #[test]
    fn traces_are_written_where_they_are_asked_for_whatever_the_level() {
        for level in ["warn", "panda=trace", "trace,panda::trace=off", "trace,panda.trace=warn"] {
            for (traces, is_told) in [(false, false), (true, true)] {
                let config = LogConfig { level: level.to_owned(), traces, ..LogConfig::default() };
                let log = tracing_subscriber::fmt().with_env_filter(filter(&config).unwrap()).finish();
                let told = tracing::subscriber::with_default(
                    log,
                    || tracing::enabled!(target: TRACE_TARGET, tracing::Level::INFO),
                );
                assert_eq!(told, is_told, "{level}");
            }
        }
    }
}
