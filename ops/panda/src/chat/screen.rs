//! The full screen: what the state knows, drawn; what is pressed, done.

mod conversation;
mod draw;
mod editor;
mod list;
mod terminal;
#[cfg(test)]
mod tests;
mod view;
mod wrap;

use std::io::{Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use crossterm::event::{Event as TerminalEvent, EventStream, KeyCode, KeyModifiers};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use panda_protocol::event::Event;
use tokio::time::Instant;

use self::terminal::Taken;
use self::view::View;
use super::signals::Signals;
use super::state::News;
use super::talk::{self, Talk};
use super::{lines, quiet};

/// The screen is drawn at most once in this time, however much happens.
const DRAW_EVERY: Duration = Duration::from_millis(16);

/// What time it is for the person.
struct Clock {
    /// Since the client began.
    now: Duration,
    zone: TimeZone,
    today: Date,
}

impl Clock {
    fn local(&self, event: &Event) -> DateTime {
        let micros = i64::try_from(event.time.0).unwrap_or(i64::MAX);
        // A time that no calendar has is as good as none.
        self.zone.to_datetime(Timestamp::from_microsecond(micros).unwrap_or_default())
    }

    fn day(&self, event: &Event) -> Date {
        self.local(event).date()
    }

    fn time(&self, event: &Event) -> String {
        self.local(event).strftime("%H:%M").to_string()
    }
}

/// What the person presses, and what else asks for the end.
struct Asked {
    keys: EventStream,
    signals: Signals,
}

/// Runs until the person quits, the session is over for good, or a signal asks for the end, which is then the status. It
/// ends well if everything that was said or made is stored.
///
/// # Errors
/// The terminal cannot be taken, or takes nothing.
pub(super) async fn run(mut talk: Talk) -> anyhow::Result<ExitCode> {
    let signals = Signals::new()?;
    let mut taken = Taken::take().context("take the terminal; --plain does without")?;
    let mut asked = Asked { keys: EventStream::new(), signals };
    let outcome = turns(&mut talk, &mut taken, &mut asked).await;
    let last = talk.state.connection.words(talk.now());
    taken.leave_screen();
    let told = last_words(&mut talk, &mut asked).await;
    drop(taken);
    talk.close().await;
    if let Some(status) = asked.signals.status() {
        for words in told.unwrap_or_default() {
            // A terminal that is gone reads nothing.
            lines::print(&format!("* {words}")).ok();
        }
        return Ok(status);
    }
    let status = outcome?;
    let unstored = told?;
    if status != ExitCode::SUCCESS {
        lines::print(&format!("* {last}"))?;
    }
    for words in &unstored {
        lines::print(&format!("* {words}"))?;
    }
    Ok(if unstored.is_empty() { status } else { ExitCode::FAILURE })
}

/// Waits for what is not stored yet, and says so: the terminal still takes what is typed, and shows none of it. Returns
/// sentences about what is not stored in the end.
async fn last_words(talk: &mut Talk, asked: &mut Asked) -> anyhow::Result<Vec<String>> {
    let unstored = talk.state.unstored();
    if unstored == 0 {
        return Ok(Vec::new());
    }
    let seconds = talk::LAST_WORDS.as_secs();
    // A raw terminal goes down only.
    let notice = format!("* waiting up to {seconds} s for {}; Ctrl-C gives up\r\n", lines::counted(unstored));
    // A terminal that is gone reads none, and what was said is waited for all the same.
    stdout().write_all(notice.as_bytes()).and_then(|()| stdout().flush()).ok();
    while talk.state.next_news().is_some() {}
    tokio::select! {
        settled = talk.settle() => settled?,
        () = given_up(&mut asked.keys) => {}
        () = asked.signals.give_up() => {}
    }
    // What was typed meanwhile is for nobody.
    quiet::forget_typed();
    talk.state.give_up(false);
    let failed = |news| if let News::Failed { words, .. } = news { Some(words) } else { None };
    Ok(std::iter::from_fn(|| talk.state.next_news()).filter_map(failed).collect())
}

/// Ends once the person does not want to wait any longer.
async fn given_up(keys: &mut EventStream) {
    while let Some(Ok(pressed)) = keys.next().await {
        if let TerminalEvent::Key(key) = pressed
            && key.code == KeyCode::Char('c')
            && key.modifiers.contains(KeyModifiers::CONTROL)
        {
            return;
        }
    }
    // A terminal that is gone has nobody who could.
    std::future::pending().await
}

async fn turns(talk: &mut Talk, taken: &mut Taken, asked: &mut Asked) -> anyhow::Result<ExitCode> {
    let zone = TimeZone::system();
    let mut view = View::new();
    let mut draw_at = Some(Instant::now());
    loop {
        let now = talk.now();
        view.follow(&mut talk.state, now);
        talk.act();
        if let Some(status) = talk.state.ended() {
            return Ok(status);
        }
        if draw_at.is_some_and(|at| at <= Instant::now()) {
            let clock = clock(&zone, now);
            taken.terminal.draw(|frame| draw::draw(frame, &talk.state, &mut view, &clock)).context("draw")?;
            view.seen(&mut talk.state, now);
            talk.act();
            draw_at = view.due(now).map(|due| Instant::now() + (due - now));
        }
        let soon = Instant::now() + DRAW_EVERY;
        tokio::select! {
            pressed = asked.keys.next() => match pressed {
                Some(pressed) => {
                    press(pressed.context("read the terminal")?, talk, taken, &mut view, &clock(&zone, talk.now()))?;
                }
                None => talk.state.end(true),
            },
            happened = talk.step() => happened?,
            () = async { tokio::time::sleep_until(draw_at.unwrap_or(soon)).await }, if draw_at.is_some() => continue,
            () = asked.signals.come() => talk.state.end(true),
        }
        draw_at = Some(draw_at.map_or(soon, |at| at.min(soon)));
    }
}

fn clock(zone: &TimeZone, now: Duration) -> Clock {
    Clock { now, zone: zone.clone(), today: zone.to_datetime(Timestamp::now()).date() }
}

fn press(
    pressed: TerminalEvent,
    talk: &mut Talk,
    taken: &mut Taken,
    view: &mut View,
    clock: &Clock,
) -> anyhow::Result<()> {
    match pressed {
        TerminalEvent::Key(key) if key.code == KeyCode::Char('l') && key.modifiers.contains(KeyModifiers::CONTROL) => {
            taken.terminal.clear().context("clear the screen")?;
        }
        TerminalEvent::Key(key) => view.key(key, &mut talk.state, clock),
        TerminalEvent::Paste(text) => view.paste(&text, &mut talk.state, clock.now),
        TerminalEvent::FocusGained => view.is_focused = true,
        TerminalEvent::FocusLost => view.is_focused = false,
        // The next drawing asks for the size itself.
        TerminalEvent::Resize(..) | TerminalEvent::Mouse(_) => {}
    }
    Ok(())
}
