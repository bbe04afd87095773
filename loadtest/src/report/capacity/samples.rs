//! Reports as runs of known costs would write them.

use crate::report::model::{Process, Report, Second};

fn process(name: &str, rss_bytes: u64, cpu_share: f64) -> Process {
    Process { name: name.into(), rss_bytes, cpu_share }
}

fn report(sessions: u64, first: Second, load: impl Iterator<Item = Second>) -> Report {
    let mut report = Report { sessions, chats: 1, transport: "ws".into(), ..Report::default() };
    report.told.report = 1;
    report.told.series = std::iter::once(first).chain(load).collect();
    report.told.meta.load_s = Some((1.0, 11.0));
    report
}

/// Ten seconds of idle sessions: 2,048 bytes each, and a tenth of a core for all.
pub(super) fn idle(sessions: u64) -> Report {
    let first = Second { servers: vec![process("edge-1", 1_000_000, 0.0)], ..Second::default() };
    let load = (2..=11_u32).map(|at| Second {
        at_s: f64::from(at),
        span_s: 1.0,
        connected: sessions,
        servers: vec![process("edge-1", 1_000_000 + 2_048 * sessions, 0.1)],
        ..Second::default()
    });
    report(sessions, first, load)
}

/// Ten seconds with so many messages and ten times as many deliveries each; half a core of the edge, 0.3 of the router.
pub(super) fn under_load(messages: u64) -> Report {
    let load = (2..=11_u32).map(|at| Second {
        at_s: f64::from(at),
        span_s: 1.0,
        sent: messages,
        acked: messages,
        delivered: messages * 10,
        connected: 100,
        servers: vec![process("edge-1", 5_000_000, 0.5), process("router-1", 5_000_000, 0.3)],
        ..Second::default()
    });
    let mut report = report(100, Second::default(), load);
    (report.rates.sent, report.rates.delivered) = (messages * 10, messages * 100);
    report
}
