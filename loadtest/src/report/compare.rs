//! Two sides of reports beside each other, as ratios of medians.

use std::fmt;

use serde::Serialize;

use super::model::Report;

/// Which way a figure is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// More of it.
    More,
    /// Less of it.
    Less,
}

/// A figure of both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What it is.
    pub figure: String,
    /// Its unit.
    pub unit: &'static str,
    /// Which way it is better.
    pub better: Better,
    /// The median of what is compared with; absent where no report has it.
    pub before: Option<f64>,
    /// How many reports have it.
    pub before_runs: usize,
    /// The median of what is compared; absent where no report has it.
    pub after: Option<f64>,
    /// How many reports have it.
    pub after_runs: usize,
    /// After by before; absent where before is 0, or one of them is absent.
    pub ratio: Option<f64>,
    /// Whether it is worse than is allowed, or some report has it no more; never, if nothing was demanded.
    pub worse: bool,
}

/// A comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// How much worse a figure may be, as a share; absent if nothing was demanded.
    pub max_regression: Option<f64>,
    /// Why ratios say nothing of the server, such as other machines.
    pub void: Vec<String>,
    /// What differs and is to be compared, or must be known.
    pub notes: Vec<String>,
    /// The figures that a side has.
    pub rows: Vec<Row>,
}

impl Comparison {
    /// Compares medians. Each side has at least one report.
    pub fn of(before: &[Report], after: &[Report], max_regression: Option<f64>) -> Self {
        let rows = FIGURES.iter().filter_map(|figure| row(figure, before, after, max_regression)).collect();
        Self { max_regression, void: void(before, after), notes: notes(before, after), rows }
    }

    /// Whether a figure is worse than is allowed.
    pub fn worse(&self) -> bool {
        self.rows.iter().any(|row| row.worse)
    }
}

/// A figure that reports have.
struct Figure(&'static str, &'static str, Better, fn(&Report) -> Option<f64>);

#[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
const FIGURES: &[Figure] = &[
    Figure("sent", "/s", Better::More, |report| (report.rates.sent > 0).then_some(report.rates.sent_per_second)),
    Figure("acked", "/s", Better::More, |report| (report.rates.sent > 0).then_some(report.rates.acked_per_second)),
    Figure("delivered", "/s", Better::More, |report| {
        (report.rates.delivered > 0).then_some(report.rates.delivered_per_second)
    }),
    Figure("ack p50", "ms", Better::Less, |report| ms(&report.ack_us, report.ack_us.p50)),
    Figure("ack p99", "ms", Better::Less, |report| ms(&report.ack_us, report.ack_us.p99)),
    Figure("ack p99.9", "ms", Better::Less, |report| ms(&report.ack_us, report.ack_us.p99_9)),
    Figure("delivery p50", "ms", Better::Less, |report| ms(&report.delivery_us, report.delivery_us.p50)),
    Figure("delivery p99", "ms", Better::Less, |report| ms(&report.delivery_us, report.delivery_us.p99)),
    Figure("delivery p99.9", "ms", Better::Less, |report| ms(&report.delivery_us, report.delivery_us.p99_9)),
    Figure("memory a session", "KiB", Better::Less, |report| {
        let of_all = report.told.memory.iter().rev().find_map(super::model::Memory::per_session_bytes)?;
        Some(of_all / 1_024.0)
    }),
    Figure("server CPU a delivery", "µs", Better::Less, |report| {
        let (cpu_s, _) = report.server_cpu()?;
        let delivered: u64 = report.loaded().map(|second| second.delivered).sum();
        (delivered > 0).then(|| cpu_s * 1e6 / delivered as f64)
    }),
    Figure("server CPU", "cores", Better::Less, |report| {
        let (cpu_s, span_s) = report.server_cpu()?;
        (span_s > 0.0).then(|| cpu_s / span_s)
    }),
    Figure("refusals", "", Better::Less, |report| Some(report.refusals.values().sum::<u64>() as f64)),
    Figure("outcomes unknown", "", Better::Less, |report| Some(report.rates.unknown as f64)),
    Figure("sends unsent", "", Better::Less, |report| Some(report.rates.unsent as f64)),
    Figure("reconnects", "", Better::Less, |report| Some(report.reconnects as f64)),
];

fn ms(of: &super::Percentiles, us: u64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "figures are read by people")]
    (!of.is_empty()).then(|| us as f64 / 1e3)
}

fn row(
    Figure(figure, unit, better, of): &Figure,
    before: &[Report],
    after: &[Report],
    max: Option<f64>,
) -> Option<Row> {
    let side = |reports: &[Report]| {
        let figures: Vec<f64> = reports.iter().filter_map(of).collect();
        (median(&figures), figures.len())
    };
    // What every report had before and one lacks now has vanished there, and the others' median does not show it.
    let vanished = before.iter().all(|report| of(report).is_some()) && after.iter().any(|report| of(report).is_none());
    let ((before, before_runs), (after, after_runs)) = (side(before), side(after));
    // Nothing on both sides is no line that anybody reads.
    if before.unwrap_or(0.0) == 0.0 && after.unwrap_or(0.0) == 0.0 {
        return None;
    }
    let both = before.zip(after);
    let worse = max.is_some_and(|max| {
        let is_over = both.is_some_and(|(before, after)| match better {
            Better::More => after < before * (1.0 - max),
            Better::Less => after > before * (1.0 + max),
        });
        vanished || is_over
    });
    let ratio = both.filter(|(before, _)| *before != 0.0).map(|(before, after)| after / before);
    let (figure, unit, better) = ((*figure).to_owned(), *unit, *better);
    Some(Row { figure, unit, better, before, before_runs, after, after_runs, ratio, worse })
}

fn median(figures: &[f64]) -> Option<f64> {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(figures[middle]),
        _ => Some(f64::midpoint(figures[middle - 1], figures[middle])),
    }
}

/// Why figures of these reports cannot be compared.
fn void(before: &[Report], after: &[Report]) -> Vec<String> {
    let all = || before.iter().chain(after);
    let mut void = Vec::new();
    let mut differ = |what: &str, of: fn(&Report) -> String| {
        let mut told: Vec<String> = all().map(of).collect();
        told.sort();
        told.dedup();
        if told.len() > 1 {
            void.push(format!("{what} differ: {}", told.join(" | ")));
        }
    };
    differ("machines", |report| report.told.meta.machine.to_string());
    differ("scenarios", |report| report.told.meta.scenario.clone());
    differ("loads", |report| {
        format!("{} sessions in {} chats over {}", report.sessions, report.chats, report.transport)
    });
    differ("scenario files", |report| match &report.told.meta.scenario_file {
        None => "none".into(),
        Some(text) => format!("{} lines, checksum {:08x}", text.lines().count(), checksum(text)),
    });
    differ("commands", |report| load_of(&report.told.meta.command));
    for report in all() {
        let command = &report.told.meta.command;
        if let Some(problem) = &report.problem {
            void.push(format!("a run ended early ({command}): {problem}"));
        }
        if report.held == Some(false) {
            void.push(format!("the checker found {} violations ({command})", report.violations));
        }
        let limits = &report.told.verdict.harness_limits;
        void.extend(limits.iter().map(|limit| format!("the harness was the limit ({command}): {limit}")));
    }
    void
}

/// Flags that say where a run goes and what it writes, with a value each; they make no other load.
const NO_LOAD: [&str; 8] =
    ["--target", "--api-key-file", "--json", "--html", "--watch", "--seed", "--record", "--note"];

/// A command without what makes no other load.
fn load_of(command: &str) -> String {
    let mut words = shell_words(command).into_iter();
    let mut kept = Vec::new();
    while let Some(word) = words.next() {
        match word.split_once('=').map_or(word.as_str(), |(flag, _)| flag) {
            flag if NO_LOAD.contains(&flag) => {
                if flag.len() == word.len() {
                    words.next();
                }
            }
            flag if flag.starts_with("--dashboard") => {}
            _ => kept.push(word),
        }
    }
    kept.join(" ")
}

/// The words of a command that was quoted for a shell, as [`super::model::Meta::command`] is.
fn shell_words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            '\\' if !quoted => word.extend(characters.next()),
            plain => word.push(plain),
        }
    }
    words.push(word);
    words
}

/// Tells texts apart for a person; no secret hangs on it.
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |sum: u32, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// As much of a commit as tells it apart.
fn short(commit: &str) -> String {
    commit.chars().take(12).collect()
}

fn notes(before: &[Report], after: &[Report]) -> Vec<String> {
    let side = |name: &str, reports: &[Report]| {
        let of = |report: &Report| {
            let meta = &report.told.meta;
            let commit = meta.commit.as_ref().map_or_else(|| "no commit known".into(), |commit| short(commit));
            format!("{} ({commit}, {})", meta.version, meta.started)
        };
        format!("{name}: {}", reports.iter().map(of).collect::<Vec<_>>().join(", "))
    };
    let mut notes = vec![side("before", before), side("after", after)];
    if before.len() < 3 || after.len() < 3 {
        notes.push(
            "fewer than 3 runs on a side: a difference may be chance; --more-before and --more-after add runs".into(),
        );
    }
    notes
}

/// Reads a share such as `10%` or `0.1`.
///
/// # Errors
/// A sentence for the person who wrote it.
pub fn parse_percent(text: &str) -> Result<f64, String> {
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match share {
        Ok(share) if (0.0..=10.0).contains(&share) => Ok(share),
        _ => Err("write a share from 0% to 1000%, such as 10%".into()),
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "{note}"))?;
        self.void.iter().try_for_each(|why| writeln!(f, "VOID: {why}"))?;
        writeln!(f, "{:<24} {:>14} {:>14} {:<6} {:>8}", "FIGURE", "BEFORE", "AFTER", "UNIT", "RATIO")?;
        for row in &self.rows {
            let ratio = row.ratio.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"));
            let better = match (row.worse, row.better) {
                (true, _) => "  WORSE",
                (false, Better::More) => "  more is better",
                (false, Better::Less) => "  less is better",
            };
            let [before, after] =
                [row.before, row.after].map(|side| side.map_or_else(|| "-".into(), |figure| format!("{figure:.2}")));
            writeln!(f, "{:<24} {before:>14} {after:>14} {:<6} {ratio:>8}{better}", row.figure, row.unit)?;
        }
        match self.max_regression {
            None => Ok(()),
            Some(max) if self.worse() => writeln!(f, "worse by more than {:.1}%", max * 100.0),
            Some(max) => writeln!(f, "nothing is worse by more than {:.1}%", max * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Percentiles;
    use super::*;

    fn report(p99_ms: u64, acked_per_second: f64) -> Report {
        let mut report = Report { sessions: 10, chats: 2, transport: "ws".into(), ..Report::default() };
        report.rates.sent = 100;
        report.rates.acked_per_second = acked_per_second;
        report.ack_us = Percentiles { count: 5, p50: 1_000, p99: p99_ms * 1_000, ..Percentiles::default() };
        report.told.meta.command = format!("panda-loadtest steady --rate 5 --seed {p99_ms} --json {p99_ms}.json");
        report
    }

    #[test]
    fn medians_are_compared_and_what_is_worse_than_allowed_is_named() {
        let before = [report(10, 100.0), report(12, 90.0), report(500, 95.0)];
        let after = [report(13, 95.0), report(12, 94.0), report(14, 96.0)];
        let at = |max| Comparison::of(&before, &after, Some(max));
        let loose = at(0.1);
        assert!(!loose.worse() && loose.void.is_empty(), "{loose}");
        let p99 = loose.rows.iter().find(|row| row.figure == "ack p99").unwrap();
        assert_eq!((p99.before, p99.after, p99.before_runs), (Some(12.0), Some(13.0), 3));
        let strict = at(0.05);
        assert!(strict.worse(), "{strict}");
        let text = strict.to_string();
        assert!(text.contains("WORSE") && text.contains("1.083") && text.contains("worse by more than 5.0%"), "{text}");
        assert!(!Comparison::of(&before, &after, None).worse(), "nothing was demanded");
        let json = serde_json::to_value(&strict).unwrap();
        assert!(json["rows"].as_array().unwrap().iter().any(|row| row["worse"] == true), "{json}");
    }

    #[test]
    fn less_throughput_is_worse_and_more_is_not() {
        assert!(Comparison::of(&[report(1, 100.0)], &[report(1, 80.0)], Some(0.1)).worse());
        assert!(!Comparison::of(&[report(1, 80.0)], &[report(1, 100.0)], Some(0.1)).worse());
    }

    #[test]
    fn what_vanished_is_worse_and_what_is_new_is_not() {
        let delivered = |rate: f64| {
            let mut report = report(1, 100.0);
            (report.rates.delivered, report.rates.delivered_per_second) = (u64::from(rate > 0.0), rate);
            report
        };
        let gone = Comparison::of(&[delivered(5_000.0)], &[delivered(0.0)], Some(0.1));
        assert!(gone.worse(), "{gone}");
        let row = gone.rows.iter().find(|row| row.figure == "delivered").unwrap();
        assert_eq!((row.before, row.after, row.ratio), (Some(5_000.0), None, None));
        assert!(gone.to_string().contains(" - "), "{gone}");
        let some_gone = [delivered(5_000.0), delivered(0.0), delivered(5_000.0)];
        assert!(Comparison::of(&[delivered(5_000.0)], &some_gone, Some(0.1)).worse());
        assert!(!Comparison::of(&[delivered(0.0)], &[delivered(5_000.0)], Some(0.1)).worse());
        assert!(!Comparison::of(&[delivered(5_000.0)], &[delivered(0.0)], None).worse(), "nothing was demanded");
        let mut unknown = report(1, 100.0);
        unknown.rates.unknown = 7;
        assert!(Comparison::of(&[report(1, 100.0)], &[unknown], Some(0.1)).worse());
    }

    #[test]
    fn other_machines_loads_and_failed_runs_make_it_void_and_other_files_do_not() {
        let void = |change: fn(&mut Report)| {
            let mut other = report(2, 1.0);
            change(&mut other);
            Comparison::of(&[report(1, 1.0)], &[other], None).void
        };
        assert_eq!(void(|_| {}), [""; 0], "another seed and file are the same load");
        assert!(void(|other| other.told.meta.machine.cores = 64)[0].starts_with("machines differ"));
        assert!(void(|other| other.sessions = 11)[0].contains("11 sessions in 2 chats over ws"));
        assert!(void(|other| other.told.meta.command.push_str(" --rate 6"))[0].starts_with("commands differ"));
        assert!(void(|other| other.told.meta.scenario_file = Some("rate = 6".into()))[0].starts_with("scenario files"));
        assert!(void(|other| other.problem = Some("interrupted".into()))[0].contains("ended early"));
        assert!(void(|other| other.held = Some(false))[0].contains("violations"));
        assert!(void(|other| other.told.verdict.harness_limits.push("its CPU".into()))[0].contains("its CPU"));
    }

    #[test]
    fn a_note_of_many_words_makes_no_other_load() {
        let load =
            load_of(r"panda-loadtest steady --note 'it'\''s --rate 9' --rate 5 --json=a.json --dashboard=on --chats 2");
        assert_eq!(load, "panda-loadtest steady --rate 5 --chats 2");
    }

    #[test]
    fn a_share_is_read_with_and_without_its_sign() {
        assert_eq!((parse_percent("10%"), parse_percent("0.1")), (Ok(0.1), Ok(0.1)));
        for wrong in ["", "-1%", "x", "2000%", "NaN"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_median_of_two_lies_between_them() {
        assert_eq!((median(&[]), median(&[4.0, 2.0]), median(&[9.0, 1.0, 2.0])), (None, Some(3.0), Some(2.0)));
    }
}
