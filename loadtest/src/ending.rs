//! The end of a run: what is printed and written of it, whatever came of it, and the exit status.

use std::io::Write;

use crate::cli::Common;
use crate::output::OutputFile;
use crate::report::model::Report;
use crate::report::{Summary, html, line};
use crate::run::RunError;

/// Everything held.
pub const HELD: u8 = 0;
/// The checker found something, a cluster did not recover or keep its promises meanwhile, or a target answered with what
/// its document does not say.
pub const VIOLATED: u8 = 1;
/// What was asked for cannot be done.
pub const USAGE: u8 = 2;
/// The target is not there.
pub const UNREACHABLE: u8 = 3;
/// Everything held, but a threshold of the scenario was crossed.
pub const CROSSED: u8 = 4;
/// The harness, and not the target, was the limit.
pub const HARNESS: u8 = 5;

/// Where a run's report goes, beside what is printed.
#[derive(Debug, Default)]
pub struct Written {
    /// As JSON.
    pub json: Option<OutputFile>,
    /// As a page.
    pub html: Option<OutputFile>,
}

impl Written {
    /// Opens what was asked for.
    ///
    /// # Errors
    /// [`RunError::Usage`] if a file cannot be written.
    pub fn open(common: &Common) -> Result<Self, RunError> {
        Ok(Self {
            json: OutputFile::open_if("--json", common.json.as_deref())?,
            html: OutputFile::open_if("--html", common.html.as_deref())?,
        })
    }
}

/// Prints the summary of a run, as far as it came, to `out`, and writes the report. What went wrong is said to
/// the person who watches. Returns the exit status: a violation is told before anything else that went wrong.
pub fn end(mut summary: Summary, ended: Result<(), RunError>, written: Written, out: &mut impl Write) -> u8 {
    summary.ends(ended.as_ref().err().map(ToString::to_string));
    let mut problems: Vec<RunError> = ended.err().into_iter().collect();
    // A run that ended before its load has nothing to sum up, unless something was found in it.
    if (summary.began() || problems.is_empty() || !summary.passed())
        && let Err(error) = write!(out, "{summary}")
    {
        problems.push(RunError::Usage(format!("the summary cannot be printed: {error}")));
    }
    // Always: what an earlier run wrote there would pass for this one's.
    problems.extend(write_report(&summary, written));
    for limit in &summary.told.verdict.harness_limits {
        line(format_args!("the harness was the limit: {limit}"));
    }
    for crossed in summary.told.verdict.thresholds.iter().filter(|threshold| !threshold.passed) {
        let measured = crossed.measured.map_or_else(|| "nothing".to_owned(), |measured| measured.to_string());
        line(format_args!("threshold {}: {} demanded, {measured} measured", crossed.figure, crossed.demanded));
    }
    problems.iter().for_each(|problem| line(format_args!("panda-loadtest: {problem}")));
    match problems.first() {
        _ if !summary.passed() => VIOLATED,
        // A figure that is the harness's own says nothing of a threshold, either.
        None if !summary.told.verdict.harness_limits.is_empty() => HARNESS,
        None if summary.told.verdict.thresholds.iter().any(|threshold| !threshold.passed) => CROSSED,
        None => HELD,
        Some(RunError::Usage(_)) => USAGE,
        Some(RunError::Unreachable(_)) => UNREACHABLE,
        Some(RunError::Malformed(_)) => VIOLATED,
        Some(RunError::Harness(_)) => HARNESS,
    }
}

/// Each file, whatever became of the other one.
fn write_report(summary: &Summary, Written { json, html }: Written) -> Vec<RunError> {
    let report = match serde_json::to_vec_pretty(summary) {
        Ok(report) => report,
        Err(error) => return vec![RunError::Usage(format!("the report cannot be written as JSON: {error}"))],
    };
    let page = |file: OutputFile| match Report::from_json(&report) {
        Ok(report) => file.write(html::page(&report).as_bytes()),
        Err(error) => Err(RunError::Usage(format!("the report cannot be read back: {error}"))),
    };
    let written = [json.map(|file| file.write(&report)), html.map(page)];
    written.into_iter().flatten().filter_map(Result::err).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::Ordering::Relaxed;
    use std::time::Duration;

    use super::*;
    use crate::checker::Verdict;
    use crate::recorder::Recorder;
    use crate::report::model::Threshold;

    fn loaded() -> Summary {
        let recorder = Recorder::default();
        recorder.sent.store(250, Relaxed);
        let mut summary = Summary { scenario: "steady".into(), ..Summary::begins() };
        summary.recorded(&recorder, Duration::from_secs(5));
        summary
    }

    fn judged(violations: u64) -> Summary {
        let mut summary = loaded();
        summary.judged(&Verdict { violations, ..Verdict::default() });
        summary
    }

    fn printed(summary: Summary, ended: Result<(), RunError>, json: Option<OutputFile>) -> (u8, String) {
        let mut out = Vec::new();
        let status = end(summary, ended, Written { json, html: None }, &mut out);
        (status, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_run_that_lost_its_target_still_prints_and_writes_what_it_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        let gone = || Err(RunError::Unreachable("no session could connect again for 60s".into()));
        let json = OutputFile::open("--json", &path).unwrap();
        let (status, said) = printed(loaded(), gone(), Some(json));
        assert_eq!(status, UNREACHABLE);
        assert!(said.contains("sent       250 (50.0/s)") && said.contains("checker    judged nothing"), "{said}");
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["rates"]["sent"], 250);
        assert_eq!(json["problem"], "no session could connect again for 60s");
        assert_eq!(printed(Summary::default(), gone(), None), (UNREACHABLE, String::new()), "before any load");
    }

    #[test]
    fn what_an_earlier_run_wrote_does_not_pass_for_a_run_that_came_to_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        let json = || Some(OutputFile::open("--json", &path).unwrap());
        assert_eq!(printed(judged(0), Ok(()), json()).0, HELD);
        let gone = Err(RunError::Unreachable("nobody is there".into()));
        assert_eq!(printed(Summary::default(), gone, json()), (UNREACHABLE, String::new()));
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!((&json["held"], &json["problem"]), (&serde_json::Value::Null, &"nobody is there".into()));
    }

    #[test]
    fn what_was_found_before_a_run_ended_early_is_told_and_so_is_an_answer_that_is_none() {
        let interrupted = || Err(RunError::Usage("interrupted".into()));
        let mut found = Summary::default();
        found.judged(&Verdict { violations: 1, ..Verdict::default() });
        let (status, said) = printed(found, interrupted(), None);
        assert_eq!(status, VIOLATED);
        assert!(said.contains("1 VIOLATIONS"), "{said}");
        let malformed = Err(RunError::Malformed("target 2 answered: expected a number".into()));
        assert_eq!(printed(loaded(), malformed, None).0, VIOLATED);
    }

    #[test]
    fn a_threshold_that_the_harness_crossed_is_the_harnesss_and_a_violation_is_the_targets() {
        let run = |violations, crossed: bool, is_limit: bool| {
            let mut summary = judged(violations);
            let verdict = &mut summary.told.verdict;
            verdict.thresholds = vec![Threshold { passed: !crossed, ..Threshold::default() }];
            verdict.harness_limits.extend(is_limit.then(|| "no processor time".to_owned()));
            printed(summary, Ok(()), None).0
        };
        assert_eq!((run(0, false, false), run(0, true, false)), (HELD, CROSSED));
        assert_eq!((run(0, false, true), run(0, true, true)), (HARNESS, HARNESS));
        assert_eq!(run(1, true, true), VIOLATED);
    }

    #[test]
    fn a_verdict_is_told_whatever_becomes_of_files() {
        let failed = || Err(RunError::Usage("--record /dev/full cannot be written: no room".into()));
        let (status, said) = printed(judged(0), failed(), None);
        assert_eq!(status, USAGE);
        assert!(said.contains("checker    held"), "{said}");
        let full = || Some(OutputFile::open("--json", Path::new("/dev/full")).unwrap());
        let (status, said) = printed(judged(0), Ok(()), full());
        assert_eq!(status, USAGE);
        assert!(said.contains("checker    held"), "{said}");
        let (status, said) = printed(judged(3), failed(), full());
        assert_eq!(status, VIOLATED, "a violation is told before a file that cannot be written");
        assert!(said.contains("3 VIOLATIONS"), "{said}");
        assert_eq!(printed(judged(0), Ok(()), None).0, HELD);
    }
}
