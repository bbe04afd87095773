//! `panda-loadtest`: see `--help`.

use std::process::ExitCode;

use clap::Parser as _;
use panda_loadtest::agent;
use panda_loadtest::cli::{Cli, Common, Scenario};
use panda_loadtest::ending::{self, HELD, USAGE, Written};
use panda_loadtest::report::dashboard::screen;
use panda_loadtest::report::{Summary, WATCHED_MAX, line};
use panda_loadtest::run::{RunError, Underway};
use panda_loadtest::scenario;
use panda_loadtest::scenario_file::{self, RunFile, ScenarioFile};
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The tester must not be what limits: one thread for sessions, one for what blocks the other.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            line(format_args!("panda-loadtest: {error}"));
            ExitCode::from(USAGE)
        }
    }
}

/// The exit status.
fn run(cli: Cli) -> Result<u8, RunError> {
    let usage = |what: &str, error: &std::io::Error| RunError::Usage(format!("{what}: {error}"));
    let Cli { scenario, common } = cli;
    let (scenario, common, file) = match scenario {
        Scenario::Run(run) => from_file(&run)?,
        Scenario::Scenarios => {
            line(scenario_file::list()?.trim_end());
            return Ok(HELD);
        }
        other => (other, common, None),
    };
    if let Scenario::Agent(agent) = scenario {
        let listened = agent::listen(agent.listen, agent.secret.secret()?, agent.once);
        return listened.map(|()| HELD).map_err(|error| RunError::Usage(error.to_string()));
    }
    if let Scenario::Report(reading) = scenario {
        return reading.run(&common, &mut std::io::stdout().lock());
    }
    if common.watch.len() > WATCHED_MAX {
        return Err(RunError::Usage(format!("--watch takes at most {WATCHED_MAX} processes; name fewer")));
    }
    let written = Written::open(&common)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| usage("the runtime cannot be started", &error))?;
    let (mut summary, underway) = (Summary::begins(), Underway::default());
    summary.told.meta.notes.clone_from(&common.note);
    let shown = common.dashboard.take(&summary.told.meta.command).map_err(|error| usage("the dashboard", &error))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            // First, so that it is listened for before anything is asked of a target.
            biased;
            interrupted = tokio::signal::ctrl_c() => Err(match interrupted {
                Ok(()) => RunError::Usage("interrupted; not everything was judged".into()),
                Err(error) => usage("the interrupt cannot be listened for", &error),
            }),
            () = screen::asked_to_end(shown.is_some()) => {
                Err(RunError::Usage("interrupted; not everything was judged".into()))
            }
            ended = Box::pin(scenario::run(scenario, &common, &mut summary, &underway)) => ended,
        }
    });
    drop(shown);
    scenario::sum_up(&mut summary, &underway);
    if let Some(file) = &file {
        summary.told.meta.scenario_file = Some(file.text().to_owned());
        let lost = underway.run().map_or(0, |run| run.recorder.losses().values().sum());
        let judged = file.thresholds.iter().map(|threshold| threshold.judge(&summary, lost));
        summary.told.verdict.thresholds = judged.collect();
    }
    let status = ending::end(summary, ended, written, &mut std::io::stdout().lock());
    // A call that waits for its answer is not waited for.
    runtime.shutdown_background();
    Ok(status)
}

/// The scenario of a file, with the flags behind its name.
fn from_file(run: &RunFile) -> Result<(Scenario, Common, Option<ScenarioFile>), RunError> {
    let Some((name, flags)) =
        run.words.split_first().filter(|(name, _)| std::env::args().nth(2).as_ref() == Some(name))
    else {
        let name = run.words.first().map_or("FILE", String::as_str);
        let why = format!("flags come behind the scenario: panda-loadtest run {name} --json OUT");
        return Err(RunError::Usage(why));
    };
    let file = ScenarioFile::open(name)?;
    let parsed = Cli::try_parse_from(file.command_line(flags));
    let Cli { scenario, common } = parsed.map_err(|error| RunError::Usage(file.explain(&error.to_string())))?;
    Ok((scenario, common, Some(file)))
}
