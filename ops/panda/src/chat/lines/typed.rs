//! What is typed, line by line.

use std::io::{BufRead as _, Read as _};

use anyhow::Context as _;
use panda_protocol::limits::TEXT_BYTES_MAX;
use tokio::sync::mpsc;

use crate::chat::input::Input;

/// Typed lines that wait to be looked at.
const LINES_MAX: usize = 64;
/// Bytes that are kept of a line: enough to see that it is too long to be said.
const LINE_BYTES_MAX: u64 = 2 * TEXT_BYTES_MAX as u64;

/// Standard input blocks, so a thread of its own reads it. It ends with the process. Nothing is read ahead but a few
/// lines: whoever writes waits.
pub(super) fn typed_lines() -> anyhow::Result<mpsc::Receiver<Input>> {
    let (typed, lines) = mpsc::channel(LINES_MAX);
    let read = move || {
        let mut input = std::io::stdin().lock();
        while let Some(line) = next_line(&mut input) {
            let is_broken = matches!(line, Input::Broken(_));
            if typed.blocking_send(line).is_err() || is_broken {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("input".into())
        .spawn(read)
        .context("start the thread that reads what is typed")?;
    Ok(lines)
}

/// The next line, whatever is wrong with it; `None` at the end.
fn next_line(input: &mut impl std::io::BufRead) -> Option<Input> {
    let mut line = Vec::new();
    let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
    match read {
        Ok(0) => return None,
        Ok(_) => {}
        Err(error) => return Some(Input::Broken(format!("the input cannot be read: {error}"))),
    }
    if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
        // The rest of it is no line of its own.
        if let Err(error) = input.skip_until(b'\n') {
            return Some(Input::Broken(format!("the input cannot be read: {error}")));
        }
    }
    Some(match str::from_utf8(&line) {
        Ok(line) => Input::parse(line),
        Err(_) if line.len() as u64 == LINE_BYTES_MAX => Input::Wrong("not sent: the line is too long".to_owned()),
        Err(_) => Input::Wrong("not sent: it is no UTF-8".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(mut typed: &[u8]) -> Vec<Input> {
        std::iter::from_fn(|| next_line(&mut typed)).collect()
    }

    #[test]
    fn a_line_that_is_no_text_takes_no_other_with_it() {
        let wrong = Input::Wrong("not sent: it is no UTF-8".to_owned());
        let expected = [Input::Say("good".into()), wrong, Input::Say("third".into())];
        assert_eq!(lines(b"good\nbad \xff\xfe\nthird"), expected);
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_and_the_next_one_is_whole() {
        let mut typed = vec![b'x'; 10 * TEXT_BYTES_MAX];
        typed.extend(b"\nnext\n");
        let read = lines(&typed);
        assert!(matches!(&read[0], Input::Say(text) if text.len() > TEXT_BYTES_MAX), "{:?}", read.len());
        assert_eq!(read[1..], [Input::Say("next".into())]);
    }
}
