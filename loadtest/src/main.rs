//! `panda-loadtest`: see `--help`.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use panda_loadtest::cli::Cli;
use panda_loadtest::report::{Summary, line};
use panda_loadtest::run::RunError;
use panda_loadtest::scenario;
use tracing_subscriber::EnvFilter;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The tester must not be what limits: one thread for sessions, one for what blocks the other.
const THREADS: usize = 2;

const VIOLATED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(VIOLATED),
        Err(error) => {
            line(format_args!("panda-loadtest: {error:#}"));
            let unreachable = matches!(error.downcast_ref(), Some(RunError::Unreachable(_)));
            ExitCode::from(if unreachable { UNREACHABLE } else { USAGE })
        }
    }
}

/// Whether everything passed.
fn run(cli: Cli) -> anyhow::Result<bool> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(THREADS).enable_all().build().context("start the runtime")?;
    let Cli { scenario, common } = cli;
    let summary: Summary = runtime.block_on(async {
        tokio::select! {
            ended = Box::pin(scenario::run(scenario, &common)) => ended.map_err(anyhow::Error::from),
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("listen for the interrupt")?;
                Err(anyhow::anyhow!("interrupted; nothing was judged"))
            }
        }
    })?;
    if let Some(path) = &common.json {
        let json = serde_json::to_vec_pretty(&summary).context("write the summary as JSON")?;
        std::fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    write!(std::io::stdout().lock(), "{summary}").context("print the summary")?;
    Ok(summary.passed())
}
