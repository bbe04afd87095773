//! What a run's figures must keep, and whether they did.

use toml::Value;

use crate::report::{StormReport, Summary, model};

/// Of latencies: ack or delivery, in milliseconds.
const QUANTILES: [&str; 5] = ["p50_ms", "p90_ms", "p99_ms", "p99.9_ms", "max_ms"];
/// The others.
const COUNTS: [&str; 6] =
    ["errors", "lost", "violations", "acked_per_second", "delivered_per_second", "sent_per_second"];
/// Those of an edge whose sessions had to go elsewhere.
const STORM: [&str; 8] = [
    "storm.p50_back_s",
    "storm.p90_back_s",
    "storm.p99_back_s",
    "storm.all_back_s",
    "storm.postgres_calls",
    "storm.store_reads_per_session",
    "storm.tls_full",
    "storm.edge_busy_s",
];

/// Those of sessions that were away for long.
const HISTORY: [&str; 4] = ["history.p50_s", "history.p99_s", "history.all_s", "history.store_reads_per_session"];

/// Those of sessions that stalled.
const SLOW: [&str; 6] =
    ["slow.p50_s", "slow.p99_s", "slow.all_s", "slow.lost", "slow.delivery_ratio", "slow.outbox_bytes_per_stalled"];

/// Those of a flood of logins.
const LOGINS: [&str; 6] = [
    "logins.let_in_per_second",
    "logins.delivery_ratio",
    "logins.lost",
    "logins.unanswered",
    "logins.without_retry_after",
    "logins.rss_growth_bytes",
];

/// A figure with its bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    figure: String,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Threshold {
    /// Of a figure's name and a number, or `{ min = … }` or `{ max = … }`.
    ///
    /// # Errors
    /// What there is instead.
    pub fn parse(figure: &str, value: &Value) -> Result<Self, String> {
        let is_latency = figure
            .split_once('.')
            .is_some_and(|(of, quantile)| ["ack", "delivery"].contains(&of) && QUANTILES.contains(&quantile));
        let others = [&COUNTS[..], &STORM, &HISTORY, &SLOW, &LOGINS].concat();
        if !is_latency && !others.contains(&figure) {
            let latencies = QUANTILES.map(|quantile| format!("ack.{quantile}, delivery.{quantile}")).join(", ");
            let others = others.join(", ");
            return Err(format!("no figure is named '{figure}'; there are {latencies}, {others}"));
        }
        let wrong = || "a threshold is a number, { max = number } or { min = number }".to_owned();
        let bound = match value {
            Value::Table(table) if table.len() == 1 => match (table.get("min"), table.get("max")) {
                (Some(min), _) => Bound::AtLeast(number(min).ok_or_else(wrong)?),
                (_, Some(max)) => Bound::AtMost(number(max).ok_or_else(wrong)?),
                _ => return Err(wrong()),
            },
            other => Bound::AtMost(number(other).ok_or_else(wrong)?),
        };
        Ok(Self { figure: figure.to_owned(), bound })
    }

    /// What became of it in a run that lost so many connections unasked.
    pub fn judge(&self, summary: &Summary, lost: u64) -> model::Threshold {
        let measured = measured(&self.figure, summary, lost);
        let (demanded, passed) = match self.bound {
            Bound::AtMost(most) => (format!("<= {most}"), measured.is_some_and(|measured| measured <= most)),
            Bound::AtLeast(least) => (format!(">= {least}"), measured.is_some_and(|measured| measured >= least)),
        };
        model::Threshold { figure: self.figure.clone(), demanded, measured, passed }
    }
}

#[expect(clippy::cast_precision_loss, reason = "bounds are small numbers")]
fn number(value: &Value) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64)).filter(|number| number.is_finite())
}

/// A figure; `None` if nothing was measured.
#[expect(clippy::cast_precision_loss, reason = "figures of a run")]
fn measured(figure: &str, summary: &Summary, lost: u64) -> Option<f64> {
    if !summary.began() {
        return None;
    }
    if let Some(figure) = figure.strip_prefix("storm.") {
        return summary.storm.as_ref().and_then(|storm| of_storm(figure, storm));
    }
    if let Some(figure) = figure.strip_prefix("history.") {
        let history = summary.history.as_ref()?;
        return match figure {
            "p50_s" => history.p50_s,
            "p99_s" => history.p99_s,
            "all_s" => history.all_s,
            _ => history.store_reads_per_session(),
        };
    }
    if let Some(figure) = figure.strip_prefix("slow.") {
        let slow = summary.slow.as_ref()?;
        return match figure {
            "p50_s" => slow.p50_s,
            "p99_s" => slow.p99_s,
            "all_s" => slow.all_s,
            "lost" => Some(slow.lost as f64),
            "delivery_ratio" => slow.meanwhile.delivery_ratio(),
            _ => slow.outbox_bytes_per_stalled(),
        };
    }
    if let Some(figure) = figure.strip_prefix("logins.") {
        let logins = summary.logins.as_ref()?;
        return match figure {
            "let_in_per_second" => logins.let_in_per_second(),
            "delivery_ratio" => logins.meanwhile.delivery_ratio(),
            "lost" => Some(logins.lost as f64),
            "unanswered" => Some(logins.unanswered as f64),
            "without_retry_after" => Some(logins.without_retry_after as f64),
            _ => logins.meanwhile.rss_growth_bytes().map(|bytes| bytes as f64),
        };
    }
    if let Some((of, quantile)) = figure.split_once('.') {
        let times = if of == "ack" { &summary.ack_us } else { &summary.delivery_us };
        let us = match quantile {
            "p50_ms" => times.p50,
            "p90_ms" => times.p90,
            "p99_ms" => times.p99,
            "p99.9_ms" => times.p99_9,
            _ => times.max,
        };
        return (times.count > 0).then_some(us as f64 / 1e3);
    }
    match figure {
        "errors" => {
            Some((summary.refusals.values().sum::<u64>() + summary.rates.unknown + summary.rates.unsent) as f64)
        }
        "lost" => Some(lost as f64),
        "violations" => summary.held.map(|_| summary.violations as f64),
        "acked_per_second" => Some(summary.rates.acked_per_second),
        "delivered_per_second" => Some(summary.rates.delivered_per_second),
        _ => Some(summary.rates.sent_per_second),
    }
}

/// Who is not back has no time.
#[expect(clippy::cast_precision_loss, reason = "figures of a run")]
fn of_storm(figure: &str, storm: &StormReport) -> Option<f64> {
    match figure {
        "p50_back_s" => storm.p50_back_s,
        "p90_back_s" => storm.p90_back_s,
        "p99_back_s" => storm.p99_back_s,
        "all_back_s" => storm.all_back_s,
        "postgres_calls" => Some(storm.cost.postgres_calls as f64),
        "store_reads_per_session" => storm.store_reads_per_session(),
        "tls_full" => Some(storm.cost.tls_full as f64),
        _ => storm.edge_busy_s(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::*;
    use crate::recorder::Recorder;
    use crate::report::Rates;

    fn of(figure: &str, value: &str) -> Result<Threshold, String> {
        let table: toml::Table = toml::from_str(&format!("value = {value}")).unwrap();
        Threshold::parse(figure, &table["value"])
    }

    #[test]
    fn figures_keep_their_bounds_or_cross_them_and_what_was_not_measured_does_not_pass() {
        let recorder = Recorder::default();
        recorder.sent.store(100, Relaxed);
        (1..=100).for_each(|ms| recorder.ack(0, Duration::from_millis(ms), Duration::from_secs(1)));
        recorder.refusal(2000);
        let mut summary = Summary::default();
        summary.recorded(&recorder, Duration::from_secs(10));
        let passed = |figure, value, lost| of(figure, value).unwrap().judge(&summary, lost).passed;
        assert!(passed("ack.p50_ms", "60", 0) && !passed("ack.p99_ms", "60.5", 0));
        assert!(passed("errors", "1", 0) && !passed("errors", "0", 0));
        let unsent = Summary { rates: Rates { unsent: 3, ..summary.rates.clone() }, load_s: 1.0, ..Summary::default() };
        assert_eq!(of("errors", "2").unwrap().judge(&unsent, 0).measured, Some(3.0), "what never left");
        assert!(passed("lost", "0", 0) && !passed("lost", "0", 1));
        assert!(passed("acked_per_second", "{ min = 10 }", 0) && !passed("acked_per_second", "{ min = 11 }", 0));
        assert!(!passed("delivery.p99_ms", "60", 0), "nothing was delivered");
        assert!(!passed("violations", "0", 0), "nothing was judged");
    }

    #[test]
    fn a_storm_is_judged_by_its_report_and_who_is_not_back_in_no_time() {
        let mut storm = StormReport { lost: 10, p50_back_s: Some(1.5), ..StormReport::default() };
        storm.cost.store_reads = 5;
        let summary = Summary { storm: Some(storm), load_s: 1.0, ..Summary::default() };
        let passed = |figure, value| of(figure, value).unwrap().judge(&summary, 0).passed;
        assert!(passed("storm.p50_back_s", "1.5") && !passed("storm.p50_back_s", "1.4"));
        assert!(passed("storm.store_reads_per_session", "0.5") && !passed("storm.store_reads_per_session", "0.4"));
        assert!(!passed("storm.all_back_s", "99") && !passed("storm.edge_busy_s", "99"), "nothing was measured");
        assert!(passed("storm.postgres_calls", "0"));
        let other = Summary { load_s: 1.0, ..Summary::default() };
        assert!(!of("storm.postgres_calls", "0").unwrap().judge(&other, 0).passed, "there was no storm");
    }

    #[test]
    fn what_is_no_figure_or_no_bound_is_told_with_what_there_is() {
        assert!(of("delivery.p98_ms", "3").unwrap_err().contains("delivery.p99_ms"));
        for value in ["\"3\"", "{}", "{ min = 1, max = 2 }", "{ least = 3 }", "nan", "true"] {
            assert!(of("errors", value).unwrap_err().contains("a threshold is a number"), "{value}");
        }
    }
}
