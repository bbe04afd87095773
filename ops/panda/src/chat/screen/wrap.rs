//! Text in rows of a width, by what a terminal shows as one character.

use ratatui::buffer::CellWidth as _;
use unicode_segmentation::UnicodeSegmentation as _;

use crate::chat::harmless;

/// The rows of a text, broken at spaces where there are some and before or behind a wide character, else anywhere.
/// Nothing in them controls the terminal. A width below 2 counts as 2, for a wide character to fit.
pub(super) fn wrap(text: &str, width: u16) -> Vec<String> {
    let width = usize::from(width.max(2));
    let mut rows = Vec::new();
    for line in harmless::lines(text) {
        wrap_line(&line, width, &mut rows);
    }
    rows
}

fn wrap_line(line: &str, width: usize, rows: &mut Vec<String>) {
    let (mut row, mut taken) = (String::new(), 0);
    // Bytes of the row up to which it may be broken.
    let mut break_at = 0;
    // Spaces at which a line was broken show nothing on the next one.
    let mut drops_spaces = false;
    for cluster in line.graphemes(true) {
        let wide = usize::from(cluster.cell_width());
        let is_space = cluster.chars().all(char::is_whitespace);
        if is_space && (drops_spaces || taken + wide > width) {
            if !drops_spaces {
                rows.push(std::mem::take(&mut row));
                (taken, break_at, drops_spaces) = (0, 0, true);
            }
            continue;
        }
        drops_spaces = false;
        if wide == 2 {
            break_at = row.len();
        }
        while taken + wide > width && !row.is_empty() {
            let rest = if break_at == 0 { String::new() } else { row.split_off(break_at) };
            rows.push(row.trim_end().to_owned());
            taken = columns(&rest);
            row = rest;
            break_at = 0;
        }
        row.push_str(cluster);
        taken += wide;
        if is_space || wide == 2 || cluster == "-" {
            break_at = row.len();
        }
    }
    rows.push(row.trim_end().to_owned());
}

/// How many columns a harmless text takes.
pub(super) fn columns(text: &str) -> usize {
    text.graphemes(true).map(|cluster| usize::from(cluster.cell_width())).sum()
}

/// The text in at most so many columns, with a sign at the end if there was more. Harmless.
pub(super) fn cut(text: &str, width: usize) -> String {
    let text = harmless::line(text);
    if columns(&text) <= width {
        return text;
    }
    let mut shown = String::new();
    let mut taken = 1;
    for cluster in text.graphemes(true) {
        taken += usize::from(cluster.cell_width());
        if taken > width {
            break;
        }
        shown.push_str(cluster);
    }
    if width > 0 {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_break_at_spaces_and_words_that_are_too_long_anywhere() {
        assert_eq!(wrap("milk or lemon?", 8), ["milk or", "lemon?"]);
        assert_eq!(wrap("milk or  lemon?", 7), ["milk or", "lemon?"]);
        assert_eq!(wrap("a lemonade", 5), ["a", "lemon", "ade"]);
        assert_eq!(wrap("well-known", 6), ["well-", "known"]);
        assert_eq!(wrap("", 8), [""]);
        assert_eq!(wrap("one\n\n two\r\n", 8), ["one", "", " two", ""]);
    }

    #[test]
    fn wide_combining_and_right_to_left_characters_stay_whole() {
        assert_eq!(wrap("日本語テキスト", 5), ["日本", "語テ", "キス", "ト"]);
        assert_eq!(wrap("ab日本", 3), ["ab", "日", "本"]);
        assert_eq!(wrap("e\u{301}e\u{301}e\u{301}", 2), ["e\u{301}e\u{301}", "e\u{301}"]);
        assert_eq!(wrap("👩🏽\u{200d}🚀👋🏽", 2), ["👩🏽\u{200d}🚀", "👋🏽"]);
        assert_eq!(wrap("שלום עולם", 5), ["שלום", "עולם"]);
    }

    #[test]
    fn a_hostile_text_becomes_rows_of_the_width() {
        for (text, rows) in
            [("x".repeat(16 * 1024), 16 * 1024 / 40 + 1), ("e".to_owned() + &"\u{301}".repeat(10_000), 1)]
        {
            let wrapped = wrap(&text, 40);
            assert_eq!(wrapped.len(), rows);
            assert!(wrapped.iter().all(|row| columns(row) <= 40 && row.len() <= 40 * 64));
        }
        assert_eq!(wrap("\u{1b}[31mred\u{7}", 20), ["\u{fffd}[31mred\u{fffd}"]);
        assert_eq!(wrap("日本", 0), ["日", "本"]);
    }

    #[test]
    fn a_name_that_is_too_long_is_cut() {
        assert_eq!(cut("lemonade", 8), "lemonade");
        assert_eq!(cut("lemonade", 5), "lemo…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("\u{1b}x", 2), "\u{fffd}x");
        assert_eq!(cut("x", 0), "");
    }
}
