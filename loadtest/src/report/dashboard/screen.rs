//! The terminal while a dashboard has it. One a process: lines for the person who watches come from everywhere, and must
//! not be written over it. Whatever ends the run, the terminal is left as it was.

use std::io::{IsTerminal as _, Stdout, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use clap::ValueEnum;
use crossterm::event::{Event, EventStream, KeyCode, KeyModifiers};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use futures_util::StreamExt as _;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use tokio::signal::unix::{SignalKind, signal};

use super::Dashboard;
use crate::report::model::Second;

/// When a run is shown as a dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// If standard output and standard error are a terminal.
    #[default]
    Auto,
    /// In any case: standard output must be a terminal.
    On,
    /// Never: a line a second instead.
    Off,
}

/// Whether the terminal is ours. What undoes it asks this alone, because a panic may come while the lock is held.
static TAKEN: AtomicBool = AtomicBool::new(false);
static SCREEN: Mutex<Option<Screen>> = Mutex::new(None);
static HOOK: Once = Once::new();

struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    dashboard: Dashboard,
}

/// The terminal is a dashboard's until this is dropped.
#[derive(Debug)]
pub struct Taken(());

impl When {
    /// Takes the terminal for a run of this name, if that is wanted.
    ///
    /// # Errors
    /// Those of the terminal, such as that it is none; only if a dashboard must be.
    pub fn take(self, title: &str) -> std::io::Result<Option<Taken>> {
        let terminal = std::io::stdout().is_terminal();
        match self {
            Self::Off => Ok(None),
            Self::Auto if !terminal || !std::io::stderr().is_terminal() => Ok(None),
            // A terminal that cannot be drawn on still shows lines.
            Self::Auto => Ok(take(title).ok()),
            Self::On if !terminal => {
                let why = "--dashboard=on needs a terminal as standard output; leave it out, or write there to one";
                Err(std::io::Error::new(std::io::ErrorKind::Unsupported, why))
            }
            Self::On => take(title).map(Some),
        }
    }
}

fn take(title: &str) -> std::io::Result<Taken> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // First, so that what it says can be read.
            give_back();
            before(panic);
        }));
    });
    let taken = Taken(());
    TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode()?;
    execute!(std::io::stdout(), EnterAlternateScreen, cursor::Hide)?;
    let terminal = Terminal::new(CrosstermBackend::new(std::io::stdout()))?;
    let mut screen = Screen { terminal, dashboard: Dashboard::new(title.into()) };
    screen.draw();
    *lock() = Some(screen);
    Ok(taken)
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
        *lock() = None;
    }
}

impl Screen {
    fn draw(&mut self) {
        let Self { terminal, dashboard } = self;
        if terminal.draw(|frame| dashboard.draw(frame)).is_err() {
            // The terminal went away; the summary and the exit status remain.
            give_back();
        }
    }
}

/// Leaves the terminal as it was; once, whoever asks.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = std::io::stdout();
    let left =
        disable_raw_mode().and_then(|()| execute!(out, LeaveAlternateScreen, cursor::Show)).and_then(|()| out.flush());
    if left.is_err() {
        // There is no terminal any more that could be left in order.
    }
}

fn lock() -> MutexGuard<'static, Option<Screen>> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows something through the dashboard, if one has the terminal.
fn through(show: impl FnOnce(&mut Dashboard)) -> bool {
    if !TAKEN.load(Ordering::SeqCst) {
        return false;
    }
    let mut screen = lock();
    let Some(screen) = screen.as_mut() else { return false };
    show(&mut screen.dashboard);
    screen.draw();
    true
}

/// Whether a dashboard showed this line.
pub(in crate::report) fn line(text: &str) -> bool {
    // Where standard error is a file or a pipe, whoever reads it wants its lines there.
    std::io::stderr().is_terminal() && through(|dashboard| dashboard.line(text))
}

/// Whether a dashboard showed this second.
pub(in crate::report) fn second(second: &Second, sessions: usize, fault: Option<String>) -> bool {
    through(|dashboard| dashboard.second(second.clone(), sessions, fault))
}

/// Ends when a person asks the dashboard to end the run, or the system does; never, where nobody can.
pub async fn asked_to_end(taken: bool) {
    if !taken {
        return std::future::pending().await;
    }
    let mut keys = EventStream::new();
    let Ok(mut terminated) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    loop {
        let event = tokio::select! {
            event = keys.next() => event,
            _ = terminated.recv() => return,
        };
        match event {
            Some(Ok(Event::Key(key))) => match key.code {
                KeyCode::Char('q') => return,
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return,
                _ => {}
            },
            Some(Ok(Event::Resize(..))) => {
                through(|_| {});
            }
            Some(Ok(_)) => {}
            // No key comes any more; the run goes on.
            Some(Err(_)) | None => return std::future::pending().await,
        }
    }
}
