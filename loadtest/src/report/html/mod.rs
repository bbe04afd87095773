//! A report as one page of HTML: what came of the run, plots, the figures behind them, and how it was made. Nothing is
//! fetched: drawings are in it, and it has no script.

mod axis;
pub mod growth;
mod plot;
mod plots;
mod tables;
mod words;

use self::words::{bytes, digits, escaped, grouped, moment, short, time};
use super::model::{Memory, Report};

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(report: &Report) -> String {
    let meta = &report.told.meta;
    let scenario = if report.scenario.is_empty() { "run that came to nothing" } else { &report.scenario };
    let title = escaped(&format!("{scenario}: {} sessions, {} chats", grouped(report.sessions), grouped(report.chats)));
    format!(
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\
         <meta name=color-scheme content=\"light dark\">\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{title}</title><style>{STYLE}</style></head><body>\n\
         <header><p class=over>panda-loadtest {} &middot; {}</p><h1>{title}</h1>{}</header>\n\
         <main>{}{}<div class=plots>{}</div>\n{}{}</main></body></html>\n",
        escaped(&meta.version),
        escaped(&meta.started),
        pills(report),
        tiles(report),
        said(report),
        plots::all(report),
        tables::all(report),
        made(report),
    )
}

/// The verdict.
fn pills(report: &Report) -> String {
    let pill = |class: &str, text: &str| format!("<span class=\"pill {class}\">{}</span>", escaped(text));
    let mut pills = vec![match report.held {
        Some(true) => pill("good", "checker held"),
        Some(false) => pill("bad", &format!("checker: {} violations", grouped(report.violations))),
        None => pill("none", "checker judged nothing"),
    }];
    let verdict = &report.told.verdict;
    let crossed = verdict.thresholds.iter().filter(|threshold| !threshold.passed).count();
    match (verdict.thresholds.len(), crossed) {
        (0, _) => {}
        (all, 0) => pills.push(pill("good", &format!("{all} thresholds held"))),
        (all, crossed) => pills.push(pill("bad", &format!("{crossed} of {all} thresholds crossed"))),
    }
    if let Some(chaos) = &report.chaos {
        let felt = |fault: &&super::model::Fault| fault.problem.is_some() || !fault.broken.is_empty();
        match chaos.faults.iter().filter(felt).count() {
            0 => pills.push(pill("good", &format!("recovered from {} faults", chaos.faults.len()))),
            failed => pills.push(pill("bad", &format!("{failed} of {} faults broke a promise", chaos.faults.len()))),
        }
    }
    if !verdict.harness_limits.is_empty() {
        pills.push(pill("warn", "the harness was the limit"));
    }
    if report.problem.is_some() {
        pills.push(pill("bad", "ended early"));
    }
    format!("<p class=pills>{}</p>", pills.join(" "))
}

/// What went wrong, in sentences.
fn said(report: &Report) -> String {
    let mut said = String::new();
    let mut tell =
        |class: &str, text: &str| said.push_str(&format!("<p class=\"said {class}\">{}</p>\n", escaped(text)));
    if let Some(problem) = &report.problem {
        tell("bad", &format!("The run ended early: {problem}"));
    }
    report
        .told
        .verdict
        .harness_limits
        .iter()
        .for_each(|limit| tell("warn", &format!("The harness was the limit: {limit}")));
    report.evidence.iter().for_each(|evidence| tell("bad", evidence));
    report.told.meta.notes.iter().for_each(|note| tell("", note));
    said
}

/// The headline figures.
#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
fn tiles(report: &Report) -> String {
    let mut tiles = String::new();
    let mut tile = |name: &str, figure: String, below: String| {
        let [name, figure, below] = [name, figure.as_str(), below.as_str()].map(escaped);
        tiles.push_str(&format!("<div class=tile><b>{figure}</b><span>{name}</span><small>{below}</small></div>"));
    };
    let peak = report.told.series.iter().map(|second| second.connected).max().unwrap_or(0);
    tile("sessions", grouped(peak.max(report.sessions)), format!("{} at most connected", grouped(peak)));
    let rates = &report.rates;
    if rates.sent > 0 {
        tile(
            "acked",
            format!("{}/s", short(rates.acked_per_second)),
            format!("{} of {} sent", grouped(rates.acked), grouped(rates.sent)),
        );
    }
    if rates.delivered > 0 {
        tile(
            "delivered",
            format!("{}/s", short(rates.delivered_per_second)),
            format!("{} events", grouped(rates.delivered)),
        );
    }
    for (name, times) in [("ack p99", &report.ack_us), ("delivery p99", &report.delivery_us)] {
        if !times.is_empty() {
            tile(
                name,
                time(times.p99 as f64),
                format!("p50 {}, max {}", time(times.p50 as f64), time(times.max as f64)),
            );
        }
    }
    let connect = &report.told.latency.connect;
    if connect.count > 0 {
        let longest = format!("mean; the longest {}", time(connect.max_us as f64));
        tile("to connect", time(connect.mean_us), longest);
    }
    let memory = report.told.memory.iter().rev().find_map(|memory| Some((memory, Memory::per_session_bytes(memory)?)));
    if let Some((memory, each)) = memory {
        tile("memory a session", bytes(each), format!("RSS of {}", memory.name));
    }
    if let Some((cpu_s, span_s)) = report.server_cpu().filter(|(_, span_s)| *span_s > 0.0) {
        tile("server cores", digits(cpu_s / span_s), format!("{} of processor time in the load", moment(cpu_s)));
    }
    let refused: u64 = report.told.series.iter().flat_map(|second| second.errors.values()).sum();
    let lost: u64 = report.told.series.iter().map(|second| second.lost).sum();
    tile(
        "refusals",
        grouped(refused),
        format!("{} connections lost, {} came back", grouped(lost), grouped(report.reconnects)),
    );
    format!("<div class=tiles>{tiles}</div>\n")
}

/// How it was made.
fn made(report: &Report) -> String {
    let meta = &report.told.meta;
    let mut rows = String::new();
    let mut row = |name: &str, text: &str| {
        if !text.is_empty() {
            rows.push_str(&format!("<dt>{}</dt><dd>{}</dd>", escaped(name), escaped(text)));
        }
    };
    row("command", &meta.command);
    row("machine", &meta.machine.to_string());
    row("panda-loadtest", &meta.version);
    row("commit", meta.commit.as_deref().unwrap_or("not known"));
    row("targets", &report.targets.join(", "));
    row("transport", &report.transport);
    row("seed", &report.seed.to_string());
    row("started", &meta.started);
    row("ended", &meta.ended);
    row("load", &moment(report.load_s));
    let checked = &report.checked;
    if report.held.is_some() {
        let words = format!(
            "{} events, {} deliveries in {} streams, {} acked sends{}",
            grouped(checked.events),
            grouped(checked.deliveries),
            grouped(checked.streams),
            grouped(checked.acked),
            checked.read_back()
        );
        row("checked", &words);
    }
    let file = meta.scenario_file.as_ref().map_or_else(String::new, |text| {
        format!("<details><summary>The scenario's file</summary><pre>{}</pre></details>\n", escaped(text))
    });
    format!("<section><h2>How it was made</h2><dl>{rows}</dl></section>\n{file}")
}

#[cfg(test)]
mod tests;
