//! What was typed and is not answered yet, by the numbers of its lines: nobody has to guess what became of a line.

use std::collections::BTreeMap;

use super::{News, State};
use crate::chat::harmless;

/// Lines that are named if they are not answered in time; of more it is said how many.
const NAMED_MAX: usize = 20;
/// Characters that are shown of such a line.
const SHOWN_CHARS_MAX: usize = 60;

/// A line that has no answer yet.
#[derive(Debug)]
struct Line {
    /// How it was typed, as far as it is shown.
    typed: String,
    /// Others see what comes of it.
    is_change: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Owed {
    lines: BTreeMap<u64, Line>,
}

impl State {
    /// What is typed now will be answered, and changes something that others see.
    pub(super) fn owe_change(&mut self, typed: &str) {
        self.owe(typed, true);
    }

    /// What is typed now will be answered.
    pub(super) fn owe_answer(&mut self, typed: &str) {
        self.owe(typed, false);
    }

    fn owe(&mut self, typed: &str, is_change: bool) {
        let mut shown: String = harmless::line(typed).chars().take(SHOWN_CHARS_MAX + 1).collect();
        if shown.chars().count() > SHOWN_CHARS_MAX {
            shown.pop();
            shown.push('…');
        }
        self.owed.lines.insert(self.line, Line { typed: shown, is_change });
    }

    /// A line was answered well.
    pub(super) fn answered(&mut self, line: u64) {
        self.owed.lines.remove(&line);
    }

    /// A line was answered, and is not done.
    pub(super) fn undone(&mut self, line: u64, why: impl Into<String>) {
        self.answered(line);
        self.news.push_back(News::Failed { line: Some(line), words: why.into() });
    }

    /// Lines that are not answered yet.
    pub(in crate::chat) fn unanswered(&self) -> usize {
        self.owed.lines.len()
    }

    /// Those among them that change something which others see: what is said, members, chats.
    pub(in crate::chat) fn unstored(&self) -> usize {
        self.owed.lines.values().filter(|line| line.is_change).count()
    }

    /// The number of the line that was typed last.
    pub(in crate::chat) const fn last_line(&self) -> u64 {
        self.line
    }

    /// Nobody waits any longer: names what is not answered; of a person's lines only those that others would have seen.
    pub(in crate::chat) fn give_up(&mut self, is_script: bool) {
        let mut lines = std::mem::take(&mut self.owed).lines;
        lines.retain(|_, line| line.is_change || is_script);
        let unnamed = lines.len().saturating_sub(NAMED_MAX);
        for (number, Line { typed, is_change }) in lines.into_iter().take(NAMED_MAX) {
            let what = if is_change { "stored" } else { "answered" };
            self.news.push_back(News::Failed { line: Some(number), words: format!("not {what} in time: {typed}") });
        }
        if unnamed > 0 {
            self.fail(format!("and {unnamed} more behind them"));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::chat::input::Input;
    use crate::chat::request::Done;
    use crate::chat::state::News;
    use crate::chat::state::tests::{ADA, ada, chat, enter, message, news};
    use panda_protocol::Seq;

    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn what_is_not_answered_in_time_is_named_by_its_line() {
        let mut state = ada();
        enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
        for input in ["one", "/who", "two", &"x".repeat(100)] {
            state.typed(Input::parse(input), NOW);
        }
        state.done(Done::Said { chat: chat(1), line: 1, outcome: Ok(Seq(2)) }, NOW);
        assert_eq!((state.unanswered(), state.unstored()), (3, 2));
        news(&mut state);
        state.give_up(true);
        let failed = |news| if let News::Failed { line, words } = news { (line, words) } else { panic!("{news:?}") };
        let named: Vec<(Option<u64>, String)> = news(&mut state).into_iter().map(failed).collect();
        let cut = format!("not stored in time: {}…", "x".repeat(60));
        let expected = [(2, "not answered in time: /who".into()), (3, "not stored in time: two".into()), (4, cut)];
        assert_eq!(named, expected.map(|(line, words)| (Some(line), words)));
        assert_eq!(state.unanswered(), 0);
    }

    #[test]
    fn of_very_many_lines_some_are_named() {
        let mut state = ada();
        enter(&mut state, chat(1), "tea", vec![message(1, ADA, "a")], 1);
        for _ in 0..25 {
            state.typed(Input::Say("x".into()), NOW);
        }
        news(&mut state);
        state.give_up(false);
        let told = news(&mut state);
        assert_eq!(told.len(), 21);
        assert_eq!(told[20], News::Failed { line: None, words: "and 5 more behind them".into() });
    }
}
