use super::super::model::{Chaos, Curve, Fault, Harness, Point, Process, Second, Threshold, Told};
use super::super::{Percentiles, Rates};
use super::*;

/// A report whose every text is this one.
fn hostile(text: &str) -> Report {
    let times = Percentiles { count: 9, p50: 900, p90: 2_000, p99: 40_000, p99_9: 50_000, max: 1_200_000 };
    let second = |at: u32| Second {
        at_s: f64::from(at),
        span_s: 1.0,
        sent: 100,
        acked: 99,
        delivered: 990,
        errors: [(text.to_owned(), 2)].into(),
        lost: u64::from(at == 5),
        connected: 50,
        waiting: 1,
        ack_us: times,
        delivery_us: if at.is_multiple_of(7) { Percentiles::default() } else { times },
        servers: vec![Process { name: text.into(), rss_bytes: 30 << 20, cpu_share: 0.4 }],
        harness: Some(Harness { rss_bytes: 1 << 20, cpu_share: 0.2 }),
    };
    let fault = Fault {
        process: text.into(),
        kind: text.into(),
        cut: Some(text.into()),
        began_s: 10.0,
        lasted_s: 5.0,
        said: vec![text.into()],
        broken: vec![text.into()],
        problem: Some(text.into()),
        ..Fault::default()
    };
    let curve = Curve {
        count: 10,
        min_us: 1,
        mean_us: 3.0,
        max_us: 900,
        points: vec![Point { quantile: 0.5, us: 5 }, Point { quantile: 1.0, us: 900 }],
    };
    let mut told = Told { report: 1, series: (1..=60).map(second).collect(), ..Told::default() };
    told.latency.ack = curve;
    told.memory = vec![Memory { name: text.into(), before_bytes: 1, held_bytes: 9_000, sessions: 5 }];
    told.verdict.thresholds =
        vec![Threshold { figure: text.into(), demanded: text.into(), measured: None, passed: false }];
    told.verdict.harness_limits = vec![text.into()];
    let meta = &mut told.meta;
    for field in [&mut meta.command, &mut meta.version, &mut meta.started, &mut meta.ended, &mut meta.machine.cpu] {
        *field = text.into();
    }
    (meta.scenario_file, meta.commit, meta.notes) = (Some(text.into()), Some(text.into()), vec![text.into()]);
    Report {
        scenario: text.into(),
        targets: vec![text.into()],
        transport: text.into(),
        refusals: [(text.to_owned(), 3)].into(),
        problem: Some(text.into()),
        held: Some(false),
        evidence: vec![text.into()],
        chaos: Some(Chaos { faults: vec![fault], ..Chaos::default() }),
        rates: Rates { sent: 6_000, acked: 5_940, delivered: 59_400, ..Rates::default() },
        ack_us: times,
        told,
        ..Report::default()
    }
}

#[test]
fn no_name_of_a_run_becomes_markup() {
    let page = page(&hostile("</title><script>alert(1)</script>\" onload='x' &amp;"));
    assert!(!page.contains("<script") && !page.contains("alert(1)<") && !page.contains("onload='"), "{page}");
    let escaped = "&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; &amp;amp;";
    assert!(page.matches(escaped).count() > 25, "it is told wherever it stands: {}", page.matches(escaped).count());
}

#[test]
fn nothing_is_fetched_and_every_element_is_closed() {
    let page = page(&hostile("plain"));
    for from in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
        assert!(!page.contains(from), "{from}");
    }
    for element in ["figure", "svg", "table", "section", "details", "title", "div", "ul", "tr", "td", "main", "dl", "p"]
    {
        let opened = [">", " "].map(|end| page.matches(&format!("<{element}{end}")).count()).iter().sum::<usize>();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
    }
    for wrong in ["NaN", "inf\"", "infV", "-inf"] {
        assert!(!page.contains(wrong), "{wrong}");
    }
}

#[test]
fn everything_that_was_asked_for_is_on_the_page() {
    let page = page(&hostile("plain"));
    for title in [
        "Throughput",
        "Sessions",
        "Ack latency over time",
        "Delivery latency over time",
        "Latency by percentile",
        "Server memory",
        "Processor time",
        "Refusals and losses",
        "Thresholds",
        "Faults",
        "Memory of sessions",
        "Seconds in figures",
        "How it was made",
        "the harness was the limit",
        "ended early",
    ] {
        assert!(page.contains(title), "{title}");
    }
    assert!(page.contains("class=span") && page.contains("plain plain, from 10 s for 5 s"), "a fault is marked");
    assert!(page.contains("5 s\nsent: 100\nacked: 99\ndelivered: 990"), "a second is told where somebody points");
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("width=device-width"));
}

#[test]
fn a_run_that_came_to_nothing_has_a_page_too() {
    let report = Report { problem: Some("nobody is there".into()), ..Report::default() };
    let page = page(&report);
    assert!(
        page.contains("run that came to nothing") && page.contains("The run ended early: nobody is there"),
        "{page}"
    );
    assert!(!page.contains("<svg"), "there is nothing to draw");
}
