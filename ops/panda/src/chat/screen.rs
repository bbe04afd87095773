//! Lines on the terminal. What others wrote never controls it.

use std::io::Write as _;

/// Prints a line; standard output that takes nothing ends the program, like any other at the end of a pipe.
///
/// # Errors
/// Standard output takes nothing.
pub(super) fn line(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", harmless(text))?;
    out.flush()
}

/// The text without what a terminal would obey: control characters, and the marks that turn the order of
/// characters around for the rest of the line.
fn harmless(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        character if character.is_control() => '\u{fffd}',
        character => character,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        assert_eq!(harmless("a\u{1b}[2Jb\rc\u{9b}d"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}d");
        assert_eq!(harmless("x\u{202e}y\n\u{7f}"), "x\u{fffd}y \u{fffd}");
        assert_eq!(harmless("שלום e\u{301} 👋🏽"), "שלום e\u{301} 👋🏽");
    }
}
