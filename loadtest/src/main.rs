//! `panda-loadtest`: see `--help`.

use std::process::ExitCode;

use clap::Parser as _;
use panda_loadtest::cli::Cli;
use panda_loadtest::ending::{self, USAGE};
use panda_loadtest::output::OutputFile;
use panda_loadtest::report::{Summary, line};
use panda_loadtest::run::{RunError, Underway};
use panda_loadtest::scenario;
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
    let json = OutputFile::open_if("--json", common.json.as_deref())?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).enable_all().build();
    let runtime = runtime.map_err(|error| usage("the runtime cannot be started", &error))?;
    let (mut summary, underway) = (Summary::default(), Underway::default());
    let ended = runtime.block_on(async {
        tokio::select! {
            // First, so that it is listened for before anything is asked of a target.
            biased;
            interrupted = tokio::signal::ctrl_c() => Err(match interrupted {
                Ok(()) => RunError::Usage("interrupted; not everything was judged".into()),
                Err(error) => usage("the interrupt cannot be listened for", &error),
            }),
            ended = Box::pin(scenario::run(scenario, &common, &mut summary, &underway)) => ended,
        }
    });
    scenario::sum_up(&mut summary, &underway);
    let status = ending::end(summary, ended, json, &mut std::io::stdout().lock());
    // A call that waits for its answer is not waited for.
    runtime.shutdown_background();
    Ok(status)
}
