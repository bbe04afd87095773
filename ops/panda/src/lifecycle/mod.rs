//! The life of a process: its start, what it says of itself meanwhile, its end.
//!
//! What is stored is opened first and closed last: whatever a role is made of, the rest stands on it. A
//! stop goes the other way, so that whatever was accepted is answered before its store is closed. It has a
//! time limit, and a second signal, a second or more behind the first one, cuts it short: nothing that was acknowledged
//! depends on it.

mod ending;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use panda_protocol::Time;
use prometheus_client::registry::Registry;

use self::ending::Signals;
use crate::config::{Config, ConfigError};
use crate::health::{self, Health, Phase};
use crate::{logs, memory};

/// How long a stop may take beyond the drain. A store that takes no writes would hold it up for ever.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How often a role that is not ready is looked at.
const READY_CHECKED: Duration = Duration::from_millis(5);
/// How often a role is looked at for `/sendz`.
const SENDS_CHECKED: Duration = Duration::from_millis(500);

/// What a process runs.
pub(crate) trait Role: Sized {
    /// Refuses a configuration that it cannot be made of. Asked before anything is opened.
    ///
    /// # Errors
    /// All keys that are missing, or that are another role's.
    fn check(config: &Config) -> Result<(), ConfigError>;

    /// Makes it of what is configured, registers its figures, and waits for services that are away.
    ///
    /// # Errors
    /// What stands in the way and goes by no waiting, in a sentence.
    async fn start(config: &Config, registry: &mut Registry) -> anyhow::Result<Self>;

    /// Says why sends are refused now, if they are. It is asked from other threads.
    fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static;

    /// Whether it is whole and admits whom it is for; that may change while it runs.
    fn ready(&self) -> bool;

    /// Called a few times a second: for what only this thread may look at.
    fn look(&self) {}

    /// Says where everything is, to a person or to a script that started it.
    ///
    /// # Errors
    /// Nobody takes it; the role works all the same.
    fn introduce(&self, health: SocketAddr, config: &Config) -> std::io::Result<()>;

    /// Resolves when a part fails that nothing mends. Cancel safe.
    async fn failed(&mut self) -> anyhow::Error;

    /// Ends every part, whatever becomes of the others, within `drain` where nothing holds it up.
    ///
    /// # Errors
    /// The first part that did not end as it should.
    async fn stop(self, drain: Duration) -> anyhow::Result<()>;
}

/// The clock of this process.
#[expect(clippy::disallowed_methods, reason = "the binary reads the clock; everything else is given the time")]
pub(crate) fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// Runs a role until a signal, or until a part fails that nothing mends.
///
/// # Errors
/// What stands in the way of a start, or what failed, in a sentence.
pub(crate) fn run<R: Role>(config: &Config) -> anyhow::Result<ExitCode> {
    R::check(config)?;
    let left_out = logs::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("main")
        .enable_all()
        .build()
        .context("start the main runtime")?;
    runtime.block_on(async {
        tokio::select! {
            ended = live::<R>(config) => ended,
            never = left_out.tell() => match never {},
        }
    })
}

async fn live<R: Role>(config: &Config) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "heap-profile")]
    let profile = crate::heap_profile::begin();
    // Signals are caught from here on: one that comes during the start is not lost.
    let mut signals = Signals::listen()?;
    let health_listener = health::bind(config.health.address)?;
    let health_address = health_listener.local_addr().context("read the health address")?;
    let health = Arc::new(Health::default());
    let mut registry = Registry::default();
    health::register_build(&mut registry);
    let starting = R::start(config, &mut registry);
    health::serve(health_listener, Arc::clone(&health))?;
    let mut role = tokio::select! {
        started = starting => started?,
        () = signals.next() => {
            tracing::info!("stopped during the start");
            return Ok(ExitCode::SUCCESS);
        }
    };
    health.set_started(registry, role.sends());
    let admit = |role: &R| {
        health.set_phase(Phase::Ready);
        if let Err(error) = role.introduce(health_address, config) {
            tracing::warn!(%error, "nobody takes what this process says of itself");
        }
        tracing::info!("ready");
    };
    let follow = |ready| health.set_phase(if ready { Phase::Ready } else { Phase::NotWhole });
    let failed = until_told(&mut role, &mut signals, admit, follow).await.err();
    // What lives now is what serving takes: a stop gives it back.
    #[cfg(feature = "heap-profile")]
    drop(profile);
    match &failed {
        // Whoever asks meanwhile learns why; what is left is handed over as at any stop.
        Some(error) => health.set_failed(format!("{error:#}")),
        None => health.set_phase(Phase::Draining),
    }
    tracing::info!("stopping");
    let drain = Duration::from_millis(config.edge.drain_ms);
    let insisted = ending::insisted(async || signals.next().await);
    match ending::wait_for(role.stop(drain), insisted, drain + STOP_GRACE).await {
        Ok(stopped) => match failed {
            Some(failed) => {
                if let Err(error) = stopped {
                    tracing::error!(error = format!("{error:#}"), "not stopped in order");
                }
                return Err(failed);
            }
            None => stopped?,
        },
        Err(unfinished) => {
            tracing::error!(%unfinished, "not stopped in order");
            crate::complain(&unfinished.to_string());
            // Nothing may wait for the threads that are still at it.
            std::process::exit(1);
        }
    }
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Runs until a signal comes or the role fails. `admit` is called once it is ready, `follow` whenever that changes
/// from then on.
///
/// # Errors
/// What failed.
async fn until_told<R: Role>(
    role: &mut R,
    signals: &mut Signals,
    admit: impl FnOnce(&R),
    follow: impl Fn(bool),
) -> anyhow::Result<()> {
    let mut admit = Some(admit);
    let mut was_ready = true;
    loop {
        let pause = if admit.is_some() { READY_CHECKED } else { SENDS_CHECKED };
        tokio::select! {
            () = signals.next() => return Ok(()),
            error = role.failed() => {
                tracing::error!(error = format!("{error:#}"), "a part failed that nothing mends: this process ends");
                return Err(error);
            }
            () = tokio::time::sleep(pause) => {
                role.look();
                if admit.is_none() {
                    memory::give_back();
                }
            }
        }
        let ready = role.ready();
        if let Some(admit) = admit.take_if(|_| ready) {
            admit(role);
        } else if admit.is_none() && ready != was_ready {
            was_ready = ready;
            follow(ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;

    /// A role that is ready, then fails, and stops as it should.
    #[derive(Default)]
    struct Failing {
        health: Cell<Option<SocketAddr>>,
    }

    impl Role for Failing {
        fn check(_: &Config) -> Result<(), ConfigError> {
            Ok(())
        }

        async fn start(_: &Config, _: &mut Registry) -> anyhow::Result<Self> {
            Ok(Self::default())
        }

        fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
            || Ok(())
        }

        fn ready(&self) -> bool {
            true
        }

        fn introduce(&self, health: SocketAddr, _: &Config) -> std::io::Result<()> {
            self.health.set(Some(health));
            Ok(())
        }

        async fn failed(&mut self) -> anyhow::Error {
            match self.health.get() {
                Some(_) => anyhow::anyhow!("no more room").context("a part broke"),
                None => std::future::pending().await,
            }
        }

        async fn stop(self, _: Duration) -> anyhow::Result<()> {
            for question in ["/readyz", "/sendz"] {
                let answer = ask(self.health.get().expect("it was introduced"), question)?;
                assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
                assert!(answer.ends_with("failed and ending: a part broke: no more room\n"), "{answer}");
            }
            Ok(())
        }
    }

    fn ask(health: SocketAddr, question: &str) -> anyhow::Result<String> {
        let mut asked = TcpStream::connect(health)?;
        write!(asked, "GET {question} HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        asked.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// A role that is ready, then not, then ready again, and fails once all of it was seen from outside.
    #[derive(Default)]
    struct Wavering {
        health: Cell<Option<SocketAddr>>,
        looks: Cell<usize>,
        seen: Cell<Vec<bool>>,
    }

    impl Role for Wavering {
        fn check(_: &Config) -> Result<(), ConfigError> {
            Ok(())
        }

        async fn start(_: &Config, _: &mut Registry) -> anyhow::Result<Self> {
            Ok(Self::default())
        }

        fn sends(&self) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
            || Ok(())
        }

        fn ready(&self) -> bool {
            self.looks.get() != 3
        }

        fn look(&self) {
            self.looks.set(self.looks.get() + 1);
            if let Some(health) = self.health.get() {
                let answer = ask(health, "/readyz").expect("it answers");
                let mut seen = self.seen.take();
                seen.push(answer.starts_with("HTTP/1.1 200 "));
                self.seen.set(seen);
            }
        }

        fn introduce(&self, health: SocketAddr, _: &Config) -> std::io::Result<()> {
            self.health.set(Some(health));
            Ok(())
        }

        async fn failed(&mut self) -> anyhow::Error {
            match self.looks.get() {
                0..5 => std::future::pending().await,
                _ => anyhow::anyhow!("seen: {:?}", self.seen.take()),
            }
        }

        async fn stop(self, _: Duration) -> anyhow::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_role_that_is_not_ready_any_more_says_so_until_it_is() {
        let mut config = Config::default();
        config.health.address.set_port(0);
        let failed = live::<Wavering>(&config).await.unwrap_err();
        // Looked at before each time that it is asked for.
        assert_eq!(format!("{failed:#}"), "seen: [true, true, false, true]");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_role_that_fails_is_not_ready_says_why_and_ends_with_that_sentence() {
        let mut config = Config::default();
        config.health.address.set_port(0);
        let failed = live::<Failing>(&config).await.unwrap_err();
        assert_eq!(format!("{failed:#}"), "a part broke: no more room");
    }
}
