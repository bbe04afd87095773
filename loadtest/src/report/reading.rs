//! Commands that read reports of runs and load nothing: `html`, `compare`, `capacity`, `growth`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::capacity::{self, Assumed};
use super::compare::{Comparison, parse_percent};
use super::growth::Growth;
use super::html;
use super::model::Report;
use crate::cli::Common;
use crate::ending::{HELD, VIOLATED};
use crate::output::OutputFile;
use crate::run::RunError;

/// What is done with reports of runs.
#[derive(Clone, Debug, Subcommand)]
pub enum Reading {
    /// Draws a report as one HTML page.
    Html(Html),
    /// Compares reports: a table of ratios, in which more than 1 is more.
    ///
    /// Of several reports a side, the median counts. Exit status: 0 nothing is worse than --max-regression allows, 1
    /// something is, 2 the reports cannot be read or not be compared.
    Compare(Compare),
    /// Plans 1, 10 and 100 million sockets from measured reports, as a page in Markdown on standard output.
    ///
    /// A figure that no report has is not made up: the page names the command that measures it.
    Capacity(Capacity),
    /// Fits straight lines through costs that were measured at points far apart, and tells how far the points are from them.
    ///
    /// `ops/figures growth` measures and calls this. With --json and --html, the points with their lines and a page of plots.
    Growth(Points),
}

/// Fits straight lines through costs.
#[derive(Clone, Debug, Args)]
pub struct Points {
    /// Points as `ops/figures growth` writes them.
    pub points: PathBuf,
}

/// Draws a report as one HTML page.
#[derive(Clone, Debug, Args)]
pub struct Html {
    /// What a run wrote with --json.
    pub report: PathBuf,
}

/// Compares reports.
#[derive(Clone, Debug, Args)]
pub struct Compare {
    /// What is compared with: what a run wrote with --json.
    pub before: PathBuf,
    /// What is compared.
    pub after: PathBuf,
    /// More reports of what is compared with; repeated.
    #[arg(long, value_name = "FILE")]
    pub more_before: Vec<PathBuf>,
    /// More reports of what is compared; repeated.
    #[arg(long, value_name = "FILE")]
    pub more_after: Vec<PathBuf>,
    /// How much worse a figure may be, such as 10%.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent)]
    pub max_regression: Option<f64>,
    /// Judges although machines or loads differ.
    #[arg(long)]
    pub anyway: bool,
}

/// Plans from measured reports.
#[derive(Clone, Debug, Args)]
pub struct Capacity {
    /// What runs wrote with --json, with --watch naming the servers' processes; each figure is taken from the report that
    /// shows it best.
    #[arg(required = true)]
    pub reports: Vec<PathBuf>,
    /// What is assumed of users and machines.
    #[command(flatten)]
    pub assumed: Assumed,
}

impl Reading {
    /// Does it. The exit status.
    ///
    /// # Errors
    /// [`RunError::Usage`] if a file cannot be read or written, or is no report.
    pub fn run(&self, common: &Common, out: &mut impl Write) -> Result<u8, RunError> {
        match self {
            Self::Html(asked) => {
                let path = common.html.clone().unwrap_or_else(|| asked.report.with_extension("html"));
                let page = html::page(&read(&asked.report)?);
                OutputFile::open("--html", &path)?.write(page.as_bytes())?;
                print(out, format_args!("{}\n", path.display()))?;
                Ok(HELD)
            }
            Self::Compare(asked) => compare(asked, common, out),
            Self::Growth(asked) => growth(asked, common, out),
            Self::Capacity(asked) => {
                let mut reports = Vec::new();
                for path in &asked.reports {
                    reports.push((name(path), read(path)?));
                }
                print(out, capacity::page(&reports, &asked.assumed))?;
                Ok(HELD)
            }
        }
    }
}

fn compare(asked: &Compare, common: &Common, out: &mut impl Write) -> Result<u8, RunError> {
    let json = OutputFile::open_if("--json", common.json.as_deref())?;
    let side = |first: &Path, more: &[PathBuf]| -> Result<Vec<Report>, RunError> {
        std::iter::once(first).chain(more.iter().map(PathBuf::as_path)).map(read).collect()
    };
    let (before, after) = (side(&asked.before, &asked.more_before)?, side(&asked.after, &asked.more_after)?);
    let comparison = Comparison::of(&before, &after, asked.max_regression);
    print(out, &comparison)?;
    if let Some(json) = json {
        let written = serde_json::to_vec_pretty(&comparison);
        json.write(&written.map_err(|error| RunError::Usage(format!("--json cannot be written: {error}")))?)?;
    }
    if !comparison.void.is_empty() && asked.max_regression.is_some() && !asked.anyway {
        return Err(RunError::Usage("the comparison is void, so nothing was judged; --anyway judges it".into()));
    }
    Ok(if comparison.worse() { VIOLATED } else { HELD })
}

fn growth(asked: &Points, common: &Common, out: &mut impl Write) -> Result<u8, RunError> {
    let refused = |why: &dyn std::fmt::Display| RunError::Usage(format!("{}: {why}", asked.points.display()));
    let points = std::fs::read(&asked.points).map_err(|error| refused(&error))?;
    let growth = Growth::from_json(&points).map_err(|error| refused(&error))?;
    let json = serde_json::to_vec_pretty(&growth).map_err(|error| refused(&error))?;
    if let Some(file) = OutputFile::open_if("--json", common.json.as_deref())? {
        file.write(&json)?;
    }
    if let Some(file) = OutputFile::open_if("--html", common.html.as_deref())? {
        file.write(html::growth::page(&growth).as_bytes())?;
    }
    print(out, &growth)?;
    Ok(HELD)
}

fn print(out: &mut impl Write, text: impl std::fmt::Display) -> Result<(), RunError> {
    write!(out, "{text}").map_err(|error| RunError::Usage(format!("standard output cannot be written: {error}")))
}

/// As a page may name it: without folders, which are of one machine.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn read(path: &Path) -> Result<Report, RunError> {
    let refused = |why: &dyn std::fmt::Display| RunError::Usage(format!("{}: {why}", path.display()));
    let json = std::fs::read(path).map_err(|error| refused(&error))?;
    Report::from_json(&json).map_err(|error| refused(&error))
}
