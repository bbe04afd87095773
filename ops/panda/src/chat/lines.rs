//! The line mode: what happens is printed, what is typed is done. It works in any terminal, and scripts can drive it.

mod patience;
mod told;
mod typed;

use std::collections::VecDeque;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::patience::{Awaited, Patience};
use self::told::printable;
pub(super) use self::told::told;
use self::typed::typed_lines;
use super::harmless;
use super::input::Input;
use super::quiet::Quiet;
use super::signals::Signals;
use super::state::News;
use super::talk::{LAST_WORDS, Talk};

/// Typed lines that may be unanswered before the next one is taken.
const UNANSWERED_MAX: usize = 128;

/// Runs until the person quits, the session is over for good, or a signal asks for the end, which is then the status. Of a
/// script, which has `patience`, it ends well if every line was done; of a person, if everything that was said is stored.
///
/// # Errors
/// Standard output takes nothing.
pub(super) async fn run(talk: Talk, patience: Option<Duration>) -> anyhow::Result<ExitCode> {
    let is_script = patience.is_some();
    let mut lines = Lines {
        talk,
        waiting: VecDeque::new(),
        typed: typed_lines()?,
        held: None,
        is_at_end: false,
        patience: Patience::new(patience),
        has_waited: false,
        is_script,
        is_well: true,
        signals: Signals::new()?,
    };
    let outcome = lines.turns().await;
    // Also where nothing is printed any more: what was said is to be stored.
    let last = lines.last_words().await;
    lines.talk.close().await;
    if let Some(status) = lines.signals.status() {
        return Ok(status);
    }
    let status = outcome?;
    last?;
    Ok(if lines.is_well { status } else { ExitCode::FAILURE })
}

/// A client that prints lines.
struct Lines {
    talk: Talk,
    /// News that wait for names.
    waiting: VecDeque<News>,
    typed: mpsc::Receiver<Input>,
    /// Typed, and not done before it is known where, or before there is room.
    held: Option<Input>,
    /// Nothing more is typed.
    is_at_end: bool,
    /// How long a script waits.
    patience: Patience,
    /// That was not long enough.
    has_waited: bool,
    is_script: bool,
    /// Until something that was typed is not done.
    is_well: bool,
    signals: Signals,
}

impl Lines {
    async fn turns(&mut self) -> anyhow::Result<ExitCode> {
        loop {
            // Of what was typed for a chat that is not there nothing is done.
            if !self.talk.state.lacks_chat()
                && let Some(input) = self.held.take()
            {
                self.take(input)?;
            }
            self.talk.act();
            self.tell()?;
            if self.talk.state.lacks_chat() {
                self.talk.state.end(false);
            }
            if self.is_at_end && self.talk.state.unanswered() == 0 && self.waiting.is_empty() && self.held.is_none() {
                self.talk.state.end(true);
            }
            if let Some(status) = self.talk.state.ended() {
                return Ok(status);
            }
            self.patience.awaits(self.awaited(), Instant::now());
            let until = self.patience.until();
            tokio::select! {
                happened = self.talk.step() => happened?,
                input = self.typed.recv(), if self.held.is_none() && !self.is_at_end => match input {
                    Some(input) => self.held = Some(input),
                    None => self.end_of_input()?,
                },
                () = async { tokio::time::sleep_until(until.unwrap_or_else(Instant::now)).await }, if until.is_some() => {
                    self.lose_patience()?;
                }
                () = self.signals.come() => {
                    self.talk.state.end(false);
                    return Ok(ExitCode::FAILURE);
                }
            }
        }
    }

    /// Does what was typed, or keeps it until it can be done.
    fn take(&mut self, input: Input) -> anyhow::Result<()> {
        if !self.may_go(&input) {
            self.held = Some(input);
            return Ok(());
        }
        if self.is_script && input == Input::Quit {
            return self.end_of_input();
        }
        let now = self.talk.now();
        self.talk.state.typed(input, now);
        Ok(())
    }

    /// What a script waits for now.
    fn awaited(&self) -> Option<Awaited> {
        if !self.talk.state.connection.has_lived() {
            Some(Awaited::Connection)
        } else if self.held.is_some() {
            Some(Awaited::Turn)
        } else {
            self.is_at_end.then_some(Awaited::Answers)
        }
    }

    /// Whether it is known where, and there is room. A script's questions are answered from what its lines before did.
    fn may_go(&self, input: &Input) -> bool {
        let state = &self.talk.state;
        input.is_anywhere()
            || !state.awaits_chat_for(input)
                && match input {
                    Input::Say(_) | Input::Add { .. } | Input::Remove(_) => state.unanswered() < UNANSWERED_MAX,
                    _ => !self.is_script || state.unanswered() == 0,
                }
    }

    /// Nothing more is typed: a script waits for what is not answered yet.
    fn end_of_input(&mut self) -> anyhow::Result<()> {
        if !self.is_script {
            self.talk.state.end(true);
            return Ok(());
        }
        self.is_at_end = true;
        let state = &self.talk.state;
        if state.connection.has_lived() && state.unanswered() > 0 && !state.connection.is_up() {
            let (why, lines) = (state.connection.words(self.talk.now()), counted(state.unanswered()));
            complain(&format!("{why}; waiting {} s for {lines}", self.patience.seconds()))?;
        }
        Ok(())
    }

    /// A script has waited long enough.
    fn lose_patience(&mut self) -> anyhow::Result<()> {
        let (seconds, state) = (self.patience.seconds(), &self.talk.state);
        match (self.patience.awaited(), &self.held) {
            (Some(Awaited::Connection), _) => {
                complain(&format!("not connected within {seconds} s: {}", state.connection.reason()))?;
                self.is_well = false;
            }
            (Some(Awaited::Turn), Some(held)) => {
                let (line, why) = (state.last_line() + 1, state.awaited(held, self.talk.now()));
                complain(&format!("line {line} waited {seconds} s: {why}"))?;
                self.is_well = false;
            }
            // What is not answered is named in the end.
            _ => {}
        }
        self.has_waited = true;
        self.talk.state.end(self.is_well);
        Ok(())
    }

    /// Prints what there is to say, as far as names are known.
    fn tell(&mut self) -> anyhow::Result<()> {
        while let Some(news) = self.talk.state.next_news() {
            match news {
                News::Failed { line, words } => {
                    match line {
                        Some(line) if self.is_script => complain(&format!("line {line}: {words}"))?,
                        _ => complain(&words)?,
                    }
                    // A person sees it, and goes on.
                    self.is_well &= !self.is_script && line.is_some();
                }
                news => self.waiting.push_back(news),
            }
        }
        for line in printable(&mut self.waiting, &self.talk.state) {
            print(&line)?;
        }
        Ok(())
    }

    /// Waits for what is not stored yet, and says what is not in the end.
    async fn last_words(&mut self) -> anyhow::Result<()> {
        // What is typed from here on is for another prompt, and may be a secret.
        let rest = self.rest();
        let unstored = self.talk.state.unstored();
        // A script has waited already.
        if unstored > 0 && !self.is_at_end && !self.has_waited {
            let notice = format!("waiting up to {} s for {}; Ctrl-C gives up", LAST_WORDS.as_secs(), counted(unstored));
            // A terminal that is gone reads none, and what was said is waited for all the same.
            complain(&notice).ok();
            // Without a terminal there is nothing to hide.
            let quiet = Quiet::begin().ok();
            tokio::select! {
                settled = self.talk.settle() => settled?,
                () = self.signals.give_up() => {}
            }
            self.tell()?;
            drop(quiet);
        }
        let unstored = self.talk.state.unstored();
        self.talk.state.give_up(self.is_script);
        self.is_well &= unstored == 0;
        self.tell()?;
        self.name_rest(rest)
    }

    /// What was typed and not even begun. Behind a script's `/quit` nothing is to be done.
    fn rest(&mut self) -> Vec<Input> {
        let mut rest = Vec::from_iter(self.held.take());
        while !self.is_at_end
            && let Ok(input) = self.typed.try_recv()
        {
            rest.push(input);
        }
        rest
    }

    /// Says what was not even begun.
    fn name_rest(&mut self, rest: Vec<Input>) -> anyhow::Result<()> {
        if self.is_script && !rest.is_empty() {
            let next = self.talk.state.last_line() + 1;
            complain(&format!("ended before line {next}: nothing from there on was done"))?;
            self.is_well = false;
        }
        for input in rest {
            if let (Input::Say(text), false) = (input, self.is_script) {
                complain(&format!("not sent: {text}"))?;
                self.is_well = false;
            }
        }
        Ok(())
    }
}

/// Some lines in words.
pub(super) fn counted(lines: usize) -> String {
    if lines == 1 {
        "one line that is not stored yet".to_owned()
    } else {
        format!("{lines} lines that are not stored yet")
    }
}

/// Says on standard error what a script must not miss.
fn complain(words: &str) -> std::io::Result<()> {
    writeln!(std::io::stderr().lock(), "* {}", harmless::line(words))
}

/// Prints a line; standard output that takes nothing ends the program, like any other at the end of a pipe.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", harmless::line(text))?;
    out.flush()
}
