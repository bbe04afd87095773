//! The line that is typed: it may have several lines, and moves by what a terminal shows as one character.

use ratatui::buffer::CellWidth as _;
use unicode_segmentation::UnicodeSegmentation as _;

use panda_protocol::limits::TEXT_BYTES_MAX;

/// Lines that were typed before and can be had again.
const HISTORY_MAX: usize = 100;

/// A text with a cursor, and what was typed before.
#[derive(Debug, Default)]
pub(super) struct Editor {
    text: String,
    /// Bytes before the cursor; always at a cluster's end.
    cursor: usize,
    history: Vec<String>,
    /// Which of the history is shown, and what was being typed before it was.
    recalled: Option<(usize, String)>,
}

/// The text in rows, for drawing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) rows: Vec<String>,
    /// The cursor's row and column.
    pub(super) cursor: (usize, u16),
}

impl Editor {
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Puts another text in place of this one, and returns this one.
    pub(super) fn replace(&mut self, text: String) -> String {
        self.cursor = text.len();
        self.recalled = None;
        std::mem::replace(&mut self.text, text)
    }

    /// Takes the text, and keeps it to be had again.
    pub(super) fn take(&mut self) -> String {
        let text = self.replace(String::new());
        if !text.trim().is_empty() && self.history.last() != Some(&text) {
            if self.history.len() >= HISTORY_MAX {
                self.history.remove(0);
            }
            self.history.push(text.clone());
        }
        text
    }

    /// Inserts what was typed or pasted: line breaks stay, other control characters do not. Returns whether all of it
    /// had room in a message.
    pub(super) fn insert(&mut self, text: &str) -> bool {
        let mut room = TEXT_BYTES_MAX.saturating_sub(self.text.len());
        let mut fits = true;
        let mut clean = String::new();
        for character in text.replace("\r\n", "\n").replace('\r', "\n").chars() {
            let character = if character == '\t' { ' ' } else { character };
            if character.is_control() && character != '\n' {
                continue;
            }
            if character.len_utf8() > room {
                fits = false;
                break;
            }
            room -= character.len_utf8();
            clean.push(character);
        }
        self.text.insert_str(self.cursor, &clean);
        self.cursor = self.cluster_end(self.cursor + clean.len());
        fits
    }

    /// The end of the cluster that `at` lies in: what is inserted may join with what is around.
    fn cluster_end(&self, at: usize) -> usize {
        self.text
            .grapheme_indices(true)
            .map(|(begin, cluster)| begin + cluster.len())
            .find(|end| *end >= at)
            .unwrap_or(0)
    }

    fn before(&self) -> usize {
        self.text[..self.cursor].grapheme_indices(true).next_back().map_or(0, |(begin, _)| begin)
    }

    fn behind(&self) -> usize {
        self.text[self.cursor..].graphemes(true).next().map_or(self.cursor, |cluster| self.cursor + cluster.len())
    }

    fn word_before(&self) -> usize {
        let mut words = self.text[..self.cursor].unicode_word_indices();
        words.next_back().map_or(0, |(begin, _)| begin)
    }

    fn word_behind(&self) -> usize {
        let word = self.text[self.cursor..].unicode_word_indices().next();
        word.map_or(self.text.len(), |(begin, word)| self.cursor + begin + word.len())
    }

    fn line_begin(&self) -> usize {
        self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        self.text[self.cursor..].find('\n').map_or(self.text.len(), |at| self.cursor + at)
    }

    pub(super) fn left(&mut self) {
        self.cursor = self.before();
    }

    pub(super) fn right(&mut self) {
        self.cursor = self.behind();
    }

    pub(super) fn word_left(&mut self) {
        self.cursor = self.word_before();
    }

    pub(super) fn word_right(&mut self) {
        self.cursor = self.word_behind();
    }

    pub(super) fn home(&mut self) {
        self.cursor = self.line_begin();
    }

    pub(super) fn end(&mut self) {
        self.cursor = self.line_end();
    }

    fn delete(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        // What was apart may be one cluster now.
        self.cursor = if from == 0 { 0 } else { self.cluster_end(from) };
    }

    pub(super) fn backspace(&mut self) {
        self.delete(self.before(), self.cursor);
    }

    pub(super) fn delete_behind(&mut self) {
        self.delete(self.cursor, self.behind());
    }

    pub(super) fn delete_word(&mut self) {
        self.delete(self.word_before(), self.cursor);
    }

    pub(super) fn delete_to_begin(&mut self) {
        self.delete(self.line_begin(), self.cursor);
    }

    pub(super) fn delete_to_end(&mut self) {
        self.delete(self.cursor, self.line_end());
    }

    /// To the line above, or to what was typed before.
    pub(super) fn up(&mut self) {
        let begin = self.line_begin();
        if begin > 0 {
            let column = self.text[begin..self.cursor].graphemes(true).count();
            self.cursor = begin - 1;
            self.seek_column(column);
            return;
        }
        let at = self.recalled.as_ref().map_or(self.history.len(), |(at, _)| *at);
        let Some(earlier) = at.checked_sub(1).and_then(|at| self.history.get(at)).cloned() else { return };
        let current = self.recalled.take().map_or_else(|| self.text.clone(), |(_, current)| current);
        self.replace(earlier);
        self.recalled = Some((at - 1, current));
    }

    /// To the line below, or back towards what was being typed.
    pub(super) fn down(&mut self) {
        let end = self.line_end();
        if end < self.text.len() {
            let column = self.text[self.line_begin()..self.cursor].graphemes(true).count();
            self.cursor = end + 1;
            self.seek_column(column);
            return;
        }
        let Some((at, current)) = self.recalled.take() else { return };
        match self.history.get(at + 1).cloned() {
            Some(later) => {
                self.replace(later);
                self.recalled = Some((at + 1, current));
            }
            None => drop(self.replace(current)),
        }
    }

    /// To a column of the line that the cursor is in.
    fn seek_column(&mut self, column: usize) {
        let line = &self.text[self.line_begin()..self.line_end()];
        let before: usize = line.graphemes(true).take(column).map(str::len).sum();
        self.cursor = self.line_begin() + before;
    }

    /// The text in rows of a width, broken anywhere, and where the cursor is in them.
    pub(super) fn rows(&self, width: u16) -> Rows {
        let width = width.max(2);
        let (mut rows, mut row, mut taken) = (Vec::new(), String::new(), 0_u16);
        let mut cursor = (0, 0);
        for (begin, cluster) in self.text.grapheme_indices(true) {
            let is_break = cluster == "\n";
            let shown = crate::chat::harmless::line(cluster);
            let wide = if is_break { 0 } else { shown.cell_width() };
            if taken + wide > width {
                rows.push(std::mem::take(&mut row));
                taken = 0;
            }
            if begin == self.cursor {
                cursor = (rows.len(), taken);
            }
            if is_break {
                rows.push(std::mem::take(&mut row));
                taken = 0;
            } else {
                row.push_str(&shown);
                taken += wide;
            }
        }
        if self.cursor == self.text.len() {
            if taken >= width {
                rows.push(std::mem::take(&mut row));
                taken = 0;
            }
            cursor = (rows.len(), taken);
        }
        rows.push(row);
        Rows { rows, cursor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn editor(text: &str) -> Editor {
        let mut editor = Editor::default();
        assert!(editor.insert(text));
        editor
    }

    #[test]
    fn the_cursor_moves_by_what_is_one_character_on_the_screen() {
        let mut editor = editor("e\u{301}👩🏽\u{200d}🚀日");
        editor.left();
        editor.left();
        editor.backspace();
        assert_eq!(editor.text(), "👩🏽\u{200d}🚀日");
        editor.delete_behind();
        assert_eq!(editor.text(), "日");
        editor.right();
        editor.right();
        editor.insert("!");
        assert_eq!(editor.text(), "日!");
    }

    #[test]
    fn words_and_ends_of_lines_are_reached_and_deleted() {
        let mut editor = editor("milk, or  lemon\nsugar");
        editor.word_left();
        editor.delete_to_end();
        assert_eq!(editor.text(), "milk, or  lemon\n");
        editor.left();
        editor.delete_word();
        assert_eq!(editor.text(), "milk, or  \n");
        editor.home();
        editor.word_right();
        editor.delete_to_begin();
        assert_eq!(editor.text(), ", or  \n");
        editor.end();
        editor.insert("x");
        assert_eq!(editor.text(), ", or  x\n");
    }

    #[test]
    fn up_and_down_walk_through_lines_and_then_through_what_was_typed_before() {
        let mut editor = editor("first");
        assert_eq!(editor.take(), "first");
        editor.insert("second");
        editor.take();
        editor.insert("second");
        editor.take();
        editor.insert("half\na line");
        editor.up();
        editor.insert("!");
        assert_eq!(editor.text(), "half!\na line");
        editor.up();
        assert_eq!(editor.text(), "second");
        editor.up();
        editor.up();
        assert_eq!(editor.text(), "first");
        editor.down();
        editor.down();
        assert_eq!(editor.text(), "half!\na line");
        editor.down();
        assert_eq!(editor.text(), "half!\na line");
    }

    #[test]
    fn a_paste_keeps_its_lines_and_nothing_that_controls_a_terminal() {
        let editor = editor("a\r\nb\rc\td\u{1b}[2J");
        assert_eq!(editor.text(), "a\nb\nc d[2J");
    }

    #[test]
    fn a_message_takes_no_more_than_its_limit() {
        let mut editor = editor(&"é".repeat(TEXT_BYTES_MAX / 2));
        assert!(!editor.insert("é"));
        assert_eq!(editor.text().len(), TEXT_BYTES_MAX);
        for number in 0..=HISTORY_MAX {
            editor.replace(number.to_string());
            editor.take();
        }
        assert_eq!(editor.history.len(), HISTORY_MAX);
    }

    #[test]
    fn rows_know_where_the_cursor_is() {
        let mut editor = editor("abcd日x\ny");
        assert_eq!(editor.rows(5), Rows { rows: vec!["abcd".into(), "日x".into(), "y".into()], cursor: (2, 1) });
        editor.up();
        assert_eq!(editor.rows(5).cursor, (0, 1));
        let full = self::editor("abcde");
        assert_eq!(full.rows(5), Rows { rows: vec!["abcde".into(), String::new()], cursor: (1, 0) });
    }
}
