//! How many lines about sampled commands the log takes. Whoever sends commands chooses which are sampled, and is not to
//! fill a disk with them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use panda_storage::TRACE_TARGET;
use tokio::time::Instant;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Lines about sampled commands in a window of a second, of the whole process. A window begins with a line, so where two
/// meet, twice as many may come within a moment.
const LINES_A_SECOND: u32 = 100;
const SECOND: Duration = Duration::from_secs(1);

/// Lets no more such lines through than there may be, and counts the others.
pub(super) struct TraceLimit {
    clock: fn() -> Instant,
    window: Mutex<Window>,
}

struct Window {
    began: Instant,
    lines: u32,
    /// Lines that nobody was told of yet.
    left_out: u64,
}

impl Window {
    const fn new(began: Instant) -> Self {
        Self { began, lines: 0, left_out: 0 }
    }

    fn takes(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.began) >= SECOND {
            (self.began, self.lines) = (now, 0);
        }
        let takes = self.lines < LINES_A_SECOND;
        if takes {
            self.lines += 1;
        } else {
            self.left_out += 1;
        }
        takes
    }
}

impl TraceLimit {
    fn new(clock: fn() -> Instant) -> Self {
        Self { clock, window: Mutex::new(Window::new(clock())) }
    }

    /// Whoever panicked with it left numbers behind that are as good as any.
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says how many lines were left out since it said so last, if any were.
    fn tell(&self) {
        let left_out = std::mem::take(&mut self.window().left_out);
        if left_out > 0 {
            tracing::info!(target: LIMIT_TARGET, left_out, "lines of traces were left out: there are too many");
        }
    }
}

/// Written wherever lines of traces are, and not one of them.
const LIMIT_TARGET: &str = "panda.trace.limit";

/// The limit as a part of what writes the log.
pub(super) struct TraceLayer(Arc<TraceLimit>);

impl<S: Subscriber> Layer<S> for TraceLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        event.metadata().target() != TRACE_TARGET || self.0.window().takes((self.0.clock)())
    }
}

/// Tells what the limit left out. Dropping it says the last of it.
pub(crate) struct LeftOut(Arc<TraceLimit>);

impl LeftOut {
    /// The limit for this process's log, and who tells of it.
    pub(super) fn limited() -> (TraceLayer, Self) {
        let limit = Arc::new(TraceLimit::new(Instant::now));
        (TraceLayer(Arc::clone(&limit)), Self(limit))
    }

    /// Tells it each second, until it is dropped.
    pub(crate) async fn tell(&self) -> Infallible {
        loop {
            tokio::time::sleep(SECOND).await;
            self.0.tell();
        }
    }
}

impl Drop for LeftOut {
    fn drop(&mut self) {
        self.0.tell();
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::OnceLock;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_second_takes_a_hundred_lines_and_counts_the_others() {
        let start = Instant::now();
        let mut window = Window::new(start);
        let taken = |window: &mut Window, now: Instant| (0..250).filter(|_| window.takes(now)).count();
        assert_eq!((taken(&mut window, start), window.left_out), (100, 150));
        assert_eq!((taken(&mut window, start + SECOND - Duration::from_nanos(1)), window.left_out), (0, 400));
        assert_eq!((taken(&mut window, start + SECOND), window.left_out), (100, 550));
        assert_eq!((taken(&mut window, start + SECOND * 9), window.left_out), (100, 700));
    }

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A clock that stands still.
    fn stopped() -> Instant {
        static AT: OnceLock<Instant> = OnceLock::new();
        *AT.get_or_init(Instant::now)
    }

    #[test]
    fn a_flood_of_traces_leaves_other_lines_alone_and_its_rest_is_told() {
        let (written, limit) = (Written::default(), Arc::new(TraceLimit::new(stopped)));
        let out = written.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || out.clone()).finish();
        let log = log.with(TraceLayer(Arc::clone(&limit)));
        tracing::subscriber::with_default(log, || {
            for number in 0..1_000 {
                tracing::info!(target: TRACE_TARGET, number, "followed");
                if number % 4 == 0 {
                    tracing::info!("something else");
                }
            }
            drop(LeftOut(limit));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!((count("followed"), count("something else"), count("left_out=900")), (100, 250, 1), "{text}");
    }
}
