//! What others wrote, made fit for a terminal: it is shown, and never obeyed.

use unicode_segmentation::UnicodeSegmentation as _;

/// Characters that one place on the screen takes: a family of four with skin tones has eleven. Marks beyond
/// would pile up over the lines around, or stop the terminal.
const CLUSTER_CHARS_MAX: usize = 16;

/// The text as one line, without what a terminal would obey: control characters, and the marks that turn the
/// order of characters around for the rest of the line.
pub(super) fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    // "\r\n" is one cluster, and one space.
    for cluster in text.graphemes(true) {
        match cluster {
            "\r\n" => shown.push(' '),
            cluster => shown.extend(cluster.chars().take(CLUSTER_CHARS_MAX).map(shown_as)),
        }
    }
    shown
}

/// The same, line by line.
pub(super) fn lines(text: &str) -> impl Iterator<Item = String> {
    text.split('\n').map(|one| line(one.strip_suffix('\r').unwrap_or(one)))
}

/// Whether a character is there and cannot be seen.
pub(super) const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{2800}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{e0000}'..='\u{e0fff}'
    )
}

fn shown_as(character: char) -> char {
    match character {
        '\n' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(line("a\u{1b}[2Jb\rc\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(line("x\u{202e}y\n\u{7f}\u{2066}"), "x\u{fffd}y \u{fffd}\u{fffd}");
        assert_eq!(line("שלום e\u{301} 👋🏽"), "שלום e\u{301} 👋🏽");
        assert_eq!(line("a\r\nb\u{2028}c"), "a b c");
    }

    #[test]
    fn lines_stay_apart() {
        assert_eq!(lines("a\r\nb\n\n\u{1b}c").collect::<Vec<_>>(), ["a", "b", "", "\u{fffd}c"]);
    }

    #[test]
    fn ten_thousand_marks_on_one_letter_are_cut() {
        let piled = format!("e{}!", "\u{301}".repeat(10_000));
        assert_eq!(line(&piled), format!("e{}!", "\u{301}".repeat(CLUSTER_CHARS_MAX - 1)));
        let family = "👨🏽\u{200d}👩🏽\u{200d}👧🏽\u{200d}👦🏽";
        assert_eq!(line(family), family);
    }
}
