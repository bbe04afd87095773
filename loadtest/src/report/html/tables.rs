//! The figures behind the plots, as tables.

use super::words::{bytes, digits, escaped, grouped, moment, time};
use crate::report::Percentiles;
use crate::report::model::{Curve, Report};
use crate::report::seconds::at_most;

/// Rows of the table of seconds.
const ROWS: usize = 600;

/// A table; nothing, if it has no rows. Cells are text, but for the class of a row.
struct Table {
    title: &'static str,
    head: Vec<String>,
    rows: Vec<(&'static str, Vec<String>)>,
    /// Behind a line that opens it.
    closed: bool,
}

impl Table {
    fn html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let cells = |tag: &str, cells: &[String]| -> String {
            cells.iter().map(|cell| format!("<{tag}>{}</{tag}>", escaped(cell))).collect()
        };
        let rows: String =
            self.rows.iter().map(|(class, row)| format!("<tr class=\"{class}\">{}</tr>\n", cells("td", row))).collect();
        let (title, head) = (escaped(self.title), cells("th", &self.head));
        let table =
            format!("<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>");
        if self.closed {
            format!("<details><summary>{title}</summary>{table}</details>\n")
        } else {
            format!("<section><h2>{title}</h2>{table}</section>\n")
        }
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(ToOwned::to_owned).into()
}

/// All tables.
pub(super) fn all(report: &Report) -> String {
    [
        latency(report),
        thresholds(report),
        faults(report),
        storm(report),
        edges(report),
        history(report),
        slow(report),
        logins(report),
        memory(report),
        errors(report),
        curves(report),
        seconds(report),
    ]
    .map(|table| table.html())
    .concat()
}

#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
fn latency(report: &Report) -> Table {
    let row = |name: &str, times: &Percentiles| {
        let of = [times.p50, times.p90, times.p99, times.p99_9, times.max].map(|us| time(us as f64));
        let cells = [vec![name.to_owned(), grouped(times.count)], of.into()].concat();
        (!times.is_empty()).then_some(("", cells))
    };
    let rows = [row("send due to ack", &report.ack_us), row("send due to delivery", &report.delivery_us)];
    Table {
        title: "Latency",
        head: words(["", "count", "p50", "p90", "p99", "p99.9", "max"]),
        rows: rows.into_iter().flatten().collect(),
        closed: false,
    }
}

fn thresholds(report: &Report) -> Table {
    let row = |threshold: &crate::report::model::Threshold| {
        let measured = threshold.measured.map_or_else(|| "not measured".into(), digits);
        let (class, held) = if threshold.passed { ("good", "held") } else { ("bad", "crossed") };
        (class, vec![threshold.figure.clone(), threshold.demanded.clone(), measured, held.to_owned()])
    };
    Table {
        title: "Thresholds",
        head: words(["figure", "demanded", "measured", ""]),
        rows: report.told.verdict.thresholds.iter().map(row).collect(),
        closed: false,
    }
}

fn storm(report: &Report) -> Table {
    let time = |at: Option<f64>| at.map_or_else(|| "never".into(), moment);
    let row = |name: &str, figure: String| ("", vec![name.to_owned(), figure]);
    let rows = report.storm.iter().flat_map(|storm| {
        let cost = &storm.cost;
        let secret = if storm.shared_secret { "that of all edges" } else { "one of its own" };
        [
            row("edge that was killed", storm.victim.clone()),
            row("its secret", secret.into()),
            row("sessions that lost it", grouped(storm.lost)),
            row("half of them back after", time(storm.p50_back_s)),
            row("90 % back after", time(storm.p90_back_s)),
            row("99 % back after", time(storm.p99_back_s)),
            row("all back after", time(storm.all_back_s)),
            row("tries that failed", grouped(cost.tries_failed)),
            row("TLS handshakes that resumed", grouped(cost.tls_resumed)),
            row("full TLS handshakes", grouped(cost.tls_full)),
            row("sessions opened by a resume ticket", grouped(cost.by_ticket)),
            row("sessions opened by a token", grouped(cost.by_token)),
            row("calls of Postgres meanwhile", grouped(cost.postgres_calls)),
            row("reads of the event store for sessions", grouped(cost.store_reads)),
            row("those for messages meanwhile", grouped(cost.command_reads)),
            row("admissions by a proof", grouped(cost.admissions_proven)),
            row("admissions without a load", grouped(cost.admissions_unloaded)),
        ]
    });
    Table { title: "Storm", head: words(["", ""]), rows: rows.collect(), closed: false }
}

fn history(report: &Report) -> Table {
    let time = |at: Option<f64>| at.map_or_else(|| "-".into(), moment);
    let row = |name: &str, figure: String| ("", vec![name.to_owned(), figure]);
    let rows = report.history.iter().flat_map(|history| {
        [
            row("sessions that were away", grouped(history.away)),
            row("for", moment(history.absent_s)),
            row("events that they missed", grouped(history.missed)),
            row("sessions that caught up", grouped(history.back)),
            row("half of them within", time(history.p50_s)),
            row("99 % within", time(history.p99_s)),
            row("the slowest within", time(history.max_s)),
            row("all after", time(history.all_s)),
            row("reads of the event store", history.store_reads.map_or_else(|| "not counted".into(), grouped)),
        ]
    });
    Table { title: "Catching up", head: words(["", ""]), rows: rows.collect(), closed: false }
}

fn slow(report: &Report) -> Table {
    let seconds = |at: Option<f64>| at.map_or_else(|| "-".into(), moment);
    let counted = |count: Option<u64>| count.map_or_else(|| "not counted".into(), grouped);
    let row = |name: &str, figure: String| ("", vec![name.to_owned(), figure]);
    #[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
    let rows = report.slow.iter().flat_map(|slow| {
        let micros = |us: Option<u64>| us.map_or_else(|| "-".into(), |us| time(us as f64));
        [
            row("sessions that read nothing", grouped(slow.stalled)),
            row("for", moment(slow.meanwhile.ended_s - slow.meanwhile.began_s)),
            row("connections lost meanwhile", grouped(slow.lost)),
            row("cuts of full outboxes", counted(slow.cuts)),
            row("bytes in their outboxes", counted(slow.outbox_bytes)),
            row("sessions that caught up", grouped(slow.caught_up)),
            row("half of them within", seconds(slow.p50_s)),
            row("99 % within", seconds(slow.p99_s)),
            row("all after", seconds(slow.all_s)),
            row("p99 of deliveries while all read", micros(slow.meanwhile.delivery_p99_us_before)),
            row("of the rest, meanwhile", micros(slow.meanwhile.delivery_p99_us_meanwhile)),
            row("servers' memory while all read, bytes", counted(slow.meanwhile.rss_bytes_before)),
            row("meanwhile, at most", counted(slow.meanwhile.rss_bytes_meanwhile)),
        ]
    });
    Table { title: "Slow readers", head: words(["", ""]), rows: rows.collect(), closed: false }
}

#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
fn logins(report: &Report) -> Table {
    let seconds = |at: Option<f64>| at.map_or_else(|| "-".into(), moment);
    let row = |name: &str, figure: String| ("", vec![name.to_owned(), figure]);
    let rows = report.logins.iter().flat_map(|logins| {
        let micros = |us: Option<u64>| us.map_or_else(|| "-".into(), |us| time(us as f64));
        let counted = |count: Option<u64>| count.map_or_else(|| "not counted".into(), grouped);
        let refused =
            logins.refused.iter().map(|(label, &count)| row(&format!("refused with {label}"), grouped(count)));
        let meanwhile = &logins.meanwhile;
        let told = [
            row("logins that were offered", grouped(logins.offered)),
            row("let in", grouped(logins.let_in)),
            row("half of them within", seconds(logins.p50_s)),
            row("99 % within", seconds(logins.p99_s)),
            row("refusals within, 99 %", seconds(logins.refused_p99_s)),
            row("refusals for now without a time", grouped(logins.without_retry_after)),
            row("without an answer", grouped(logins.unanswered)),
            row("sessions that lost their connection", grouped(logins.lost)),
            row("p99 of deliveries before", micros(meanwhile.delivery_p99_us_before)),
            row("meanwhile", micros(meanwhile.delivery_p99_us_meanwhile)),
            row("servers' memory before, bytes", counted(meanwhile.rss_bytes_before)),
            row("meanwhile, at most", counted(meanwhile.rss_bytes_meanwhile)),
        ];
        told.into_iter().chain(refused)
    });
    Table { title: "Logins", head: words(["", ""]), rows: rows.collect(), closed: false }
}

/// Of a storm, what the edges used that were left.
#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
fn edges(report: &Report) -> Table {
    let row = |edge: &crate::report::EdgeUse| {
        let cells = [
            edge.name.clone(),
            moment(edge.longest_busy_s),
            format!("{} %", digits(edge.highest_share * 100.0)),
            moment(edge.cpu_s),
            bytes(edge.rss_bytes_max as f64),
        ];
        ("", cells.to_vec())
    };
    Table {
        title: "Edges that were left",
        head: words(["", "longest above 80 % of a core", "busiest second", "processor time", "most memory"]),
        rows: report.storm.iter().flat_map(|storm| &storm.edges).map(row).collect(),
        closed: false,
    }
}

fn faults(report: &Report) -> Table {
    let seconds = |time: Option<f64>| time.map_or_else(|| "never".into(), moment);
    let row = |fault: &crate::report::model::Fault| {
        let problems: Vec<&str> =
            fault.broken.iter().chain(&fault.problem).chain(&fault.said).map(String::as_str).collect();
        let class = if fault.problem.is_some() || !fault.broken.is_empty() { "bad" } else { "" };
        let kind = fault.cut.as_ref().map_or_else(|| fault.kind.clone(), |cut| format!("{} ({cut})", fault.kind));
        let cells = vec![
            moment(fault.began_s),
            kind,
            fault.process.clone(),
            moment(fault.lasted_s),
            moment(fault.longest_ack_s),
            moment(fault.longest_delivery_s),
            moment(fault.disturbed_s),
            seconds(fault.recovered_s),
            fault.connections_lost.to_string(),
            problems.join("; "),
        ];
        (class, cells)
    };
    let head = [
        "at",
        "fault",
        "process",
        "lasted",
        "longest ack",
        "longest delivery",
        "disturbed",
        "recovered after",
        "connections lost",
        "",
    ];
    Table {
        title: "Faults",
        head: words(head),
        rows: report.chaos.iter().flat_map(|chaos| &chaos.faults).map(row).collect(),
        closed: false,
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
fn memory(report: &Report) -> Table {
    let row = |memory: &crate::report::model::Memory| {
        let sessions = if memory.sessions > 0 { grouped(memory.sessions) } else { "shared".into() };
        let each = match memory.per_session_bytes() {
            Some(each) => bytes(each),
            None if memory.sessions > 0 => "hidden: it held more before".into(),
            None => "-".into(),
        };
        let held = [memory.before_bytes, memory.held_bytes].map(|count| bytes(count as f64));
        ("", [vec![memory.name.clone(), sessions], held.into(), vec![each]].concat())
    };
    Table {
        title: "Memory of sessions",
        head: words(["process", "sessions", "RSS before", "RSS held (median)", "a session"]),
        rows: report.told.memory.iter().map(row).collect(),
        closed: false,
    }
}

fn errors(report: &Report) -> Table {
    let row = |(code, count): (&String, &u64)| ("", vec![code.clone(), grouped(*count)]);
    Table {
        title: "Refusals",
        head: words(["code", "sends refused for good"]),
        rows: report.refusals.iter().map(row).collect(),
        closed: false,
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
fn curves(report: &Report) -> Table {
    let latency = &report.told.latency;
    let rows = |name: &str, curve: &Curve| {
        let row = |point: &crate::report::model::Point| {
            ("", vec![name.to_owned(), format!("{:.5} %", point.quantile * 100.0), time(point.us as f64)])
        };
        curve.points.iter().map(row).collect::<Vec<_>>()
    };
    let of = [("ack", &latency.ack), ("delivery", &latency.delivery), ("connect", &latency.connect)];
    Table {
        title: "Percentile curves in figures",
        head: words(["", "percentile", "at most"]),
        rows: of.into_iter().flat_map(|(name, curve)| rows(name, curve)).collect(),
        closed: true,
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
fn seconds(report: &Report) -> Table {
    let times = |of: &Percentiles, us: u64| if of.is_empty() { "-".to_owned() } else { time(us as f64) };
    let row = |second: &crate::report::model::Second| {
        let rss = second.servers.iter().map(|process| process.rss_bytes).sum::<u64>() as f64;
        let cpu = second.servers.iter().map(|process| process.cpu_share).sum::<f64>();
        let watched = !second.servers.is_empty();
        let cells = vec![
            digits(second.at_s),
            grouped(second.connected),
            grouped(second.a_second(second.sent)),
            grouped(second.a_second(second.acked)),
            grouped(second.a_second(second.delivered)),
            times(&second.ack_us, second.ack_us.p50),
            times(&second.ack_us, second.ack_us.p99),
            times(&second.delivery_us, second.delivery_us.p50),
            times(&second.delivery_us, second.delivery_us.p99),
            grouped(second.errors.values().sum()),
            grouped(second.lost),
            if watched { bytes(rss) } else { "-".into() },
            if watched { digits(cpu) } else { "-".into() },
        ];
        ("", cells)
    };
    let head = [
        "s",
        "connected",
        "sent/s",
        "acked/s",
        "delivered/s",
        "ack p50",
        "ack p99",
        "delivery p50",
        "delivery p99",
        "refusals",
        "lost",
        "server RSS",
        "server cores",
    ];
    Table {
        title: "Seconds in figures",
        head: words(head),
        rows: at_most(&report.told.series, ROWS).iter().map(row).collect(),
        closed: true,
    }
}
