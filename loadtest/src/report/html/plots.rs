//! Which plots a report has.

use std::collections::BTreeSet;

use super::axis::Axis;
use super::plot::{Line, Plot, Span};
use super::words::{bytes, digits, moment, short, time};
use crate::report::Percentiles;
use crate::report::model::{Curve, Report, Second};
use crate::report::seconds::at_most;

/// Columns of a plot over time.
const COLUMNS: usize = 240;
/// Marks of the axis of quantiles: one in so many is beyond. There is no room for the words of the first.
const QUANTILES: [(f64, &str); 8] = [
    (1.0, ""),
    (2.0, "50"),
    (10.0, "90"),
    (100.0, "99"),
    (1_000.0, "99.9"),
    (10_000.0, "99.99"),
    (100_000.0, "99.999"),
    (1_000_000.0, "99.9999"),
];
/// Below this no quantile is told, in microseconds.
const SHORTEST_US: f64 = 1.0;

/// Everything over time, and the curves.
pub(super) fn all(report: &Report) -> String {
    let seconds = at_most(&report.told.series, COLUMNS);
    let spans = spans(report);
    let over = Over { seconds: &seconds, spans: &spans };
    let mut html = String::new();
    if !seconds.is_empty() {
        if seconds.iter().any(|second| second.sent + second.acked + second.delivered > 0) {
            html.push_str(&over.throughput());
        }
        html.push_str(&over.sessions());
        html.push_str(&over.latency("Ack latency over time", |second| &second.ack_us));
        html.push_str(&over.latency("Delivery latency over time", |second| &second.delivery_us));
    }
    html.push_str(&back(report));
    html.push_str(&curves(report));
    if !seconds.is_empty() {
        html.push_str(&over.memory());
        html.push_str(&over.cpu());
        html.push_str(&over.errors());
    }
    html
}

/// Faults, from their beginning until all was well again.
fn spans(report: &Report) -> Vec<Span> {
    let faults = report.chaos.iter().flat_map(|chaos| &chaos.faults);
    let span = |fault: &crate::report::model::Fault| Span {
        from: fault.began_s,
        to: fault.began_s + fault.lasted_s.max(fault.hold_s),
        title: format!(
            "{} {}, from {} for {}",
            fault.kind,
            fault.process,
            moment(fault.began_s),
            moment(fault.lasted_s.max(fault.hold_s))
        ),
    };
    let storm = report.storm.iter().map(|storm| Span {
        from: storm.began_s,
        to: storm.began_s + storm.all_back_s.unwrap_or_else(|| storm.back.last().map_or(0.0, |(at, _)| *at)),
        title: format!("kill {}", storm.victim),
    });
    faults.map(span).chain(storm).collect()
}

/// Plots over time.
struct Over<'a> {
    seconds: &'a [Second],
    spans: &'a [Span],
}

#[expect(clippy::cast_precision_loss, reason = "a plot is no finer than its dots")]
impl Over<'_> {
    fn throughput(&self) -> String {
        type Count = fn(&Second) -> u64;
        let counts: [(&str, Count); 3] = [
            ("sent", |second| second.sent),
            ("acked", |second| second.acked),
            ("delivered", |second| second.delivered),
        ];
        let lines = counts.map(|(name, count)| self.line(name, |second| Some(second.rate(count(second)))));
        self.plot(
            "Throughput",
            "messages a second",
            Axis::from_zero(highest(&lines), short),
            short,
            lines.into(),
            false,
        )
    }

    fn sessions(&self) -> String {
        let mut lines = vec![self.line("connected", |second| Some(second.connected as f64))];
        if self.seconds.iter().any(|second| second.waiting > 0) {
            lines.push(self.line("sends that wait for their ack", |second| Some(second.waiting as f64)));
        }
        self.plot("Sessions", "sessions", Axis::from_zero(highest(&lines), short), short, lines, true)
    }

    /// Nothing, if nothing was timed.
    fn latency(&self, title: &str, of: fn(&Second) -> &Percentiles) -> String {
        type Percentile = fn(&Percentiles) -> u64;
        let percentiles: [(&str, Percentile); 5] = [
            ("p50", |times| times.p50),
            ("p90", |times| times.p90),
            ("p99", |times| times.p99),
            ("p99.9", |times| times.p99_9),
            ("max", |times| times.max),
        ];
        if self.seconds.iter().all(|second| of(second).is_empty()) {
            return String::new();
        }
        let lines: Vec<Line> = percentiles
            .iter()
            .map(|(name, percentile)| {
                self.line(name, |second| (!of(second).is_empty()).then(|| percentile(of(second)) as f64))
            })
            .collect();
        let axis = Axis::of_powers(lowest(&lines).max(SHORTEST_US), highest(&lines), time);
        self.plot(title, "time from when a send was due (log)", axis, time, lines, false)
    }

    fn memory(&self) -> String {
        let lines = self.of_processes(|process| process.rss_bytes as f64);
        if lines.is_empty() {
            return String::new();
        }
        self.plot("Server memory", "RSS", Axis::of_bytes(highest(&lines), bytes), bytes, lines, false)
    }

    fn cpu(&self) -> String {
        let mut lines = self.of_processes(|process| process.cpu_share);
        if self.seconds.iter().any(|second| second.harness.is_some()) {
            lines.push(self.line("harness", |second| Some(second.harness?.cpu_share)));
        }
        if lines.is_empty() {
            return String::new();
        }
        self.plot("Processor time", "cores", Axis::from_zero(highest(&lines), digits), digits, lines, false)
    }

    fn errors(&self) -> String {
        let codes: BTreeSet<&String> = self.seconds.iter().flat_map(|second| second.errors.keys()).collect();
        let mut lines: Vec<Line> = codes
            .into_iter()
            .map(|code| self.line(code, |second| Some(second.rate(second.errors.get(code).copied().unwrap_or(0)))))
            .collect();
        if self.seconds.iter().any(|second| second.lost > 0) {
            lines.push(self.line("connections lost", |second| Some(second.rate(second.lost))));
        }
        if lines.is_empty() {
            return String::new();
        }
        self.plot("Refusals and losses", "a second", Axis::from_zero(highest(&lines), short), short, lines, false)
    }

    fn of_processes(&self, figure: fn(&crate::report::model::Process) -> f64) -> Vec<Line> {
        let names: BTreeSet<&String> =
            self.seconds.iter().flat_map(|second| second.servers.iter().map(|process| &process.name)).collect();
        let of = |name: &String| {
            self.line(name, |second| second.servers.iter().find(|process| process.name == *name).map(figure))
        };
        names.into_iter().map(of).collect()
    }

    fn line(&self, name: &str, figure: impl Fn(&Second) -> Option<f64>) -> Line {
        let points = self.seconds.iter().map(|second| (second.at_s, figure(second))).collect();
        Line { name: name.to_owned(), points }
    }

    fn plot(
        &self,
        title: &str,
        unit: &str,
        y: Axis,
        words: fn(f64) -> String,
        lines: Vec<Line>,
        filled: bool,
    ) -> String {
        let column = |(place, second): (usize, &Second)| {
            let figures = lines.iter().map(|line| {
                let figure = line.points[place].1.map_or_else(|| "-".to_owned(), words);
                format!("{}: {figure}", line.name)
            });
            let said: Vec<String> = std::iter::once(moment(second.at_s)).chain(figures).collect();
            (second.at_s - second.span_s, second.at_s, said.join("\n"))
        };
        let columns = self.seconds.iter().enumerate().map(column).collect();
        let from = self.seconds.first().map_or(0.0, |second| (second.at_s - second.span_s).max(0.0));
        let to = self.seconds.last().map_or(1.0, |second| second.at_s);
        let x = Axis::of_time(from, to, moment);
        let (y_title, x_title, spans) = (unit, "time of the run", self.spans);
        Plot { title, x, x_title, y, y_title, lines, filled, spans, columns }.html()
    }
}

/// How many sessions were back when, of those that lost their edge.
#[expect(clippy::cast_precision_loss, reason = "a plot is no finer than its dots")]
fn back(report: &Report) -> String {
    let Some(storm) = report.storm.as_ref().filter(|storm| !storm.back.is_empty()) else { return String::new() };
    let mut points = vec![(0.0, Some(0.0))];
    points.extend(storm.back.iter().map(|&(at, back)| (at, Some(back as f64))));
    let end = storm.back.last().map_or(1.0, |(at, _)| *at);
    let column = |pair: &[(f64, u64)]| {
        let ((from, _), (to, back)) = (pair[0], pair[1]);
        (from, to, format!("{}\n{} back", moment(to), super::words::grouped(back)))
    };
    Plot {
        title: "Sessions that are back",
        x: Axis::of_time(0.0, end, moment),
        x_title: "time since they lost their edge",
        y: Axis::from_zero(storm.lost as f64, short),
        y_title: "sessions",
        lines: vec![Line { name: format!("of {}", super::words::grouped(storm.lost)), points }],
        filled: true,
        spans: &[],
        columns: storm.back.windows(2).map(column).collect(),
    }
    .html()
}

fn figures(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| line.points.iter().filter_map(|(_, y)| *y))
}

fn highest(lines: &[Line]) -> f64 {
    figures(lines).fold(0.0, f64::max)
}

fn lowest(lines: &[Line]) -> f64 {
    figures(lines).filter(|figure| *figure > 0.0).fold(f64::INFINITY, f64::min)
}

/// How times were spread, by one in how many was longer.
#[expect(clippy::cast_precision_loss, reason = "a plot is no finer than its dots")]
fn curves(report: &Report) -> String {
    let latency = &report.told.latency;
    let named = [("ack", &latency.ack), ("delivery", &latency.delivery), ("connect", &latency.connect)];
    let drawn: Vec<(&str, &Curve)> = named.into_iter().filter(|(_, curve)| !curve.points.is_empty()).collect();
    let Some(most) = drawn.iter().map(|(_, curve)| curve.count).max() else { return String::new() };
    // Of a hundred times, none is one in a thousand.
    let end = QUANTILES.iter().find(|(one_in, _)| *one_in >= most as f64).map_or(1e6, |(one_in, _)| *one_in).max(10.0);
    let one_in = |quantile: f64| if quantile >= 1.0 { end } else { (1.0 / (1.0 - quantile)).min(end) };
    let line = |(name, curve): &(&str, &Curve)| Line {
        name: format!("{name} ({} times)", super::words::grouped(curve.count)),
        points: curve
            .points
            .iter()
            .map(|point| (one_in(point.quantile), Some((point.us as f64).max(SHORTEST_US))))
            .collect(),
    };
    let lines: Vec<Line> = drawn.iter().map(line).collect();
    let marks: Vec<(f64, String)> = QUANTILES
        .iter()
        .filter(|(one_in, _)| *one_in <= end)
        .map(|(one_in, words)| (*one_in, (*words).into()))
        .collect();
    let column = |pair: &[(f64, String)]| {
        let (from, to) = (pair[0].0, pair[1].0);
        let at = |curve: &Curve| {
            let point = curve.points.iter().find(|point| one_in(point.quantile) >= to);
            point.map_or_else(|| "-".to_owned(), |point| time(point.us as f64))
        };
        let said: Vec<String> = drawn.iter().map(|(name, curve)| format!("{name}: {}", at(curve))).collect();
        (from, to, format!("up to the {} % point\n{}", pair[1].1, said.join("\n")))
    };
    let columns = marks.windows(2).map(column).collect();
    let y = Axis::of_powers(lowest(&lines), highest(&lines), time);
    Plot {
        title: "Latency by percentile",
        x: Axis::of_marks(true, marks),
        x_title: "percentile (log)",
        y,
        y_title: "time (log)",
        lines,
        filled: false,
        spans: &[],
        columns,
    }
    .html()
}
