//! Figures as people read them, and text that is only ever text.

use std::fmt::Write as _;

/// What came from a run, a server or a person, so that no page takes it for markup, in text and in attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // No page may hold these, and a name with one may look like another.
            control if control.is_control() && control != '\n' && control != '\t' => {
                // Writing to a string cannot fail.
                let written = write!(safe, "\\u{{{:x}}}", u32::from(control));
                debug_assert!(written.is_ok());
            }
            plain => safe.push(plain),
        }
    }
    safe
}

/// Three digits, with k, M or G: `1.23 k`.
pub(super) fn short(figure: f64) -> String {
    let (by, unit) = match figure.abs() {
        huge if huge >= 1e9 => (1e9, " G"),
        large if large >= 1e6 => (1e6, " M"),
        some if some >= 1e4 => (1e3, " k"),
        _ => (1.0, ""),
    };
    format!("{}{unit}", digits(figure / by))
}

/// Microseconds, in the unit that makes them short.
pub(super) fn time(us: f64) -> String {
    match us {
        long if long >= 60e6 => format!("{} min", digits(long / 60e6)),
        some if some >= 1e6 => format!("{} s", digits(some / 1e6)),
        short if short >= 1e3 => format!("{} ms", digits(short / 1e3)),
        tiny => format!("{} µs", digits(tiny)),
    }
}

/// Bytes in binary units.
pub(super) fn bytes(count: f64) -> String {
    match count.abs() {
        huge if huge >= 1_073_741_824.0 => format!("{} GiB", digits(count / 1_073_741_824.0)),
        large if large >= 1_048_576.0 => format!("{} MiB", digits(count / 1_048_576.0)),
        some if some >= 1_024.0 => format!("{} KiB", digits(count / 1_024.0)),
        _ => format!("{} B", digits(count)),
    }
}

/// Seconds of a run.
pub(super) fn moment(seconds: f64) -> String {
    match seconds {
        long if long >= 7_200.0 => format!("{} h", digits(long / 3_600.0)),
        some if some >= 180.0 => format!("{} min", digits(some / 60.0)),
        short => format!("{} s", digits(short)),
    }
}

/// At least three digits, no zeros behind the point.
pub(super) fn digits(figure: f64) -> String {
    let text = match figure.abs() {
        large if large >= 99.95 => format!("{figure:.0}"),
        some if some >= 9.995 => format!("{figure:.1}"),
        small if small >= 0.01 || small == 0.0 => format!("{figure:.2}"),
        _ => format!("{figure:.4}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// All digits of a count, in groups of three.
pub(super) fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_in_their_unit() {
        assert_eq!([short(0.0), short(9_999.0), short(12_345.0), short(2.7e6)], ["0", "9999", "12.3 k", "2.7 M"]);
        assert_eq!([time(850.0), time(1_234.0), time(2.5e6), time(6e8)], ["850 µs", "1.23 ms", "2.5 s", "10 min"]);
        assert_eq!([bytes(1_700.0), bytes(3.0 * 1_048_576.0), bytes(5.0)], ["1.66 KiB", "3 MiB", "5 B"]);
        assert_eq!([moment(59.0), moment(600.0), moment(36_000.0)], ["59 s", "10 min", "10 h"]);
        assert_eq!([digits(100.0), digits(0.001_23), digits(9.999)], ["100", "0.0012", "10"]);
        assert_eq!([grouped(7), grouped(1_234_567)], ["7", "1\u{202f}234\u{202f}567"]);
    }

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(
            escaped("<a b=\"c\" d='e'>&\u{1b}[2J\n"),
            "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;\\u{1b}[2J\n"
        );
    }
}
