//! The terminal: taken whole, and given back whatever happens.

use std::io::{self, Stdout, stdout};
use std::sync::Once;

use crossterm::event::{DisableBracketedPaste, DisableFocusChange, EnableBracketedPaste, EnableFocusChange};
use crossterm::execute;
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

static RESTORES_ON_PANIC: Once = Once::new();

/// A terminal that is taken until this is dropped, or anything panics.
pub(super) struct Taken {
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
    /// What was before is on the screen again; only keys are still taken.
    has_left: bool,
}

impl Taken {
    /// Takes the terminal.
    ///
    /// # Errors
    /// It does not let itself be taken.
    pub(super) fn take() -> io::Result<Self> {
        RESTORES_ON_PANIC.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // First, for the message to be seen.
                give_back();
                before(panic);
            }));
        });
        enable_raw_mode()?;
        let taken = execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste, EnableFocusChange)
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match taken {
            Ok(terminal) => Ok(Self { terminal, has_left: false }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Gives the screen back, and still takes the keys, so that nothing that is typed is shown.
    pub(super) fn leave_screen(&mut self) {
        leave_screen();
        self.has_left = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if self.has_left {
            disable_raw_mode().ok();
        } else {
            give_back();
        }
    }
}

/// Everything as it was. Each step is tried whatever became of the others: a terminal that is gone needs none.
fn give_back() {
    leave_screen();
    disable_raw_mode().ok();
}

fn leave_screen() {
    execute!(stdout(), DisableFocusChange, DisableBracketedPaste, LeaveAlternateScreen, crossterm::cursor::Show).ok();
}
