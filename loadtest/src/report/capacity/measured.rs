//! What reports show of each part: every figure with the report that it is from.

use crate::report::model::{Process, Report, Second};

/// A figure of one report.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// In the unit that its place says.
    pub value: f64,
    /// The report's file.
    pub report: String,
    /// How it was taken, for a reader.
    pub how: String,
}

/// Which processes do a part's work, by the beginnings of the names that they were watched under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Holds sessions.
    Edge,
    /// Decides and stores.
    Router,
    /// The command log.
    Broker,
    /// The event store.
    Store,
}

impl Part {
    fn has(self, process: &Process) -> bool {
        let names: &[&str] = match self {
            Self::Edge => &["edge"],
            Self::Router => &["router"],
            Self::Broker => &["kafka", "broker"],
            Self::Store => &["scylla", "cassandra"],
        };
        names.iter().any(|name| process.name.starts_with(name))
    }
}

/// All that a plan is made of; what no report shows is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// Bytes that a session adds to its edge.
    pub edge_session_bytes: Option<Figure>,
    /// Bytes that a session adds to the routers.
    pub router_session_bytes: Option<Figure>,
    /// Processor seconds a second that an idle session takes of its edge.
    pub edge_idle_cores: Option<Figure>,
    /// Processor seconds of the edge to connect, authenticate and subscribe a session.
    pub edge_connect_cpu_s: Option<Figure>,
    /// Processor seconds of edges for each delivery, their share of taking the message included.
    pub edge_delivery_cpu_s: Option<Figure>,
    /// Processor seconds of routers for each message.
    pub router_message_cpu_s: Option<Figure>,
    /// The same of brokers.
    pub broker_message_cpu_s: Option<Figure>,
    /// The same of the event store.
    pub store_message_cpu_s: Option<Figure>,
}

/// Fewer say nothing of one more: what a process allocates at a start is in them.
pub const SESSIONS_MIN: u64 = 1_000;
/// Fewer messages take less than the processor's clock can tell.
pub const MESSAGES_MIN: u64 = 1_000;

impl Measured {
    /// What these reports show: each figure from the report that rests on most sessions or messages.
    pub fn of(reports: &[(String, Report)]) -> Self {
        let best = |figure: fn(&Report) -> Option<(f64, u64, String)>| -> Option<Figure> {
            let shown = reports.iter().filter_map(|(name, report)| Some((name, figure(report)?)));
            let (name, (value, _, how)) = shown.max_by_key(|(_, (_, rests_on, _))| *rests_on)?;
            Some(Figure { value, report: name.clone(), how })
        };
        Self {
            edge_session_bytes: best(|report| session_bytes(report, Part::Edge)),
            router_session_bytes: best(|report| session_bytes(report, Part::Router)),
            edge_idle_cores: best(idle_cores),
            edge_connect_cpu_s: best(connect_cpu),
            edge_delivery_cpu_s: best(|report| {
                let delivered = report.loaded().map(|second| second.delivered).sum();
                cpu_by(report, Part::Edge, delivered, "deliveries")
            }),
            router_message_cpu_s: best(|report| of_message(report, Part::Router)),
            broker_message_cpu_s: best(|report| of_message(report, Part::Broker)),
            store_message_cpu_s: best(|report| of_message(report, Part::Store)),
        }
    }
}

/// Processor time and memory of a part in one second; `None` if none of its processes was seen.
fn part_of(second: &Second, part: Part) -> Option<(f64, u64)> {
    let mut seen = second.servers.iter().filter(|process| part.has(process)).peekable();
    seen.peek()?;
    Some(seen.fold((0.0, 0), |(cpu, rss), process| (cpu + process.cpu_share * second.span_s, rss + process.rss_bytes)))
}

#[expect(clippy::cast_precision_loss, reason = "a plan is no finer")]
fn session_bytes(report: &Report, part: Part) -> Option<(f64, u64, String)> {
    let first = report.told.series.first().filter(|second| second.connected == 0)?;
    let (_, before) = part_of(first, part)?;
    let mut held: Vec<(u64, u64)> =
        report.loaded().filter_map(|second| Some((part_of(second, part)?.1, second.connected))).collect();
    held.sort_unstable();
    let (held, sessions) = *held.get(held.len() / 2)?;
    let each = held.saturating_sub(before) as f64 / sessions.max(1) as f64;
    let how =
        format!("growth of RSS with {sessions} sessions over {}, from {before} to {held} bytes", report.transport);
    (sessions >= SESSIONS_MIN && held > before).then_some((each, sessions, how))
}

/// Of a load in which nothing is said.
#[expect(clippy::cast_precision_loss, reason = "a plan is no finer")]
fn idle_cores(report: &Report) -> Option<(f64, u64, String)> {
    if report.rates.sent > 0 || report.rates.delivered > 0 {
        return None;
    }
    let (cpu, span) = cpu_of(report, Part::Edge)?;
    let sessions = report.loaded().map(|second| second.connected).min().filter(|least| *least >= SESSIONS_MIN)?;
    let how = format!("{cpu:.2} s of processor time in {span:.0} s with {sessions} idle sessions");
    Some((cpu / span / sessions as f64, sessions, how))
}

/// Of the ramp before the load.
#[expect(clippy::cast_precision_loss, reason = "a plan is no finer")]
fn connect_cpu(report: &Report) -> Option<(f64, u64, String)> {
    let (from, _) = report.told.meta.load_s?;
    let ramp = report.told.series.iter().filter(|second| second.at_s <= from + 1.0);
    let (mut cpu, mut connected) = (None, 0);
    for second in ramp {
        if let Some((used, _)) = part_of(second, Part::Edge) {
            *cpu.get_or_insert(0.0) += used;
            connected = second.connected.max(connected);
        }
    }
    let cpu: f64 = cpu.filter(|cpu| *cpu > 0.0 && connected >= SESSIONS_MIN)?;
    let how = format!("{cpu:.2} s of processor time to connect {connected} sessions over {}", report.transport);
    Some((cpu / connected as f64, connected, how))
}

fn of_message(report: &Report, part: Part) -> Option<(f64, u64, String)> {
    cpu_by(report, part, report.loaded().map(|second| second.acked).sum(), "acked messages")
}

#[expect(clippy::cast_precision_loss, reason = "a plan is no finer")]
fn cpu_by(report: &Report, part: Part, count: u64, what: &str) -> Option<(f64, u64, String)> {
    let (cpu, span) = cpu_of(report, part)?;
    let acked: u64 = report.loaded().map(|second| second.acked).sum();
    let how = format!("{cpu:.2} s of processor time in {span:.0} s with {count} {what}");
    (acked >= MESSAGES_MIN && cpu > 0.0).then(|| (cpu / count as f64, count, how))
}

/// Processor seconds in the load, and how many seconds saw the part.
fn cpu_of(report: &Report, part: Part) -> Option<(f64, f64)> {
    let seen = report.loaded().filter_map(|second| Some((part_of(second, part)?.0, second.span_s)));
    let (cpu, span) = seen.fold((0.0, 0.0), |(cpu, span), (used, lasted)| (cpu + used, span + lasted));
    (span > 0.0).then_some((cpu, span))
}

#[cfg(test)]
mod tests {
    use super::super::samples::{idle, under_load};
    use super::*;

    #[test]
    fn each_figure_is_that_of_the_report_that_rests_on_most() {
        let reports = [
            ("small.json".to_owned(), idle(2_000)),
            ("large.json".into(), idle(10_000)),
            ("load.json".into(), under_load(1_000)),
        ];
        let measured = Measured::of(&reports);
        let bytes = measured.edge_session_bytes.unwrap();
        assert_eq!((bytes.value, bytes.report.as_str()), (2_048.0, "large.json"));
        let close = |figure: Option<Figure>, value: f64, report: &str| {
            let figure = figure.unwrap();
            assert!((figure.value / value - 1.0).abs() < 1e-6 && figure.report == report, "{figure:?}");
        };
        close(measured.edge_idle_cores, 0.1 / 10_000.0, "large.json");
        close(measured.edge_delivery_cpu_s, 0.5 / 10_000.0, "load.json");
        close(measured.router_message_cpu_s, 0.3 / 1_000.0, "load.json");
        assert_eq!((measured.broker_message_cpu_s, measured.store_message_cpu_s), (None, None), "nobody watched them");
    }

    #[test]
    fn a_report_of_too_little_shows_nothing() {
        assert_eq!(Measured::of(&[("tiny.json".into(), idle(SESSIONS_MIN - 1))]), Measured::default());
        assert_eq!(Measured::of(&[("short.json".into(), under_load(10))]).router_message_cpu_s, None);
        let mut unwatched = idle(5_000);
        unwatched.told.series.iter_mut().for_each(|second| second.servers.clear());
        assert_eq!(Measured::of(&[("unwatched.json".into(), unwatched)]), Measured::default());
    }
}
