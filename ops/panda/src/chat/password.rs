//! The password: never shown, never printed.

use std::io::IsTerminal as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, read};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

/// Bytes of a password that can be typed; what is beyond is not taken.
const PASSWORD_BYTES_MAX: usize = 1024;

/// The person does not want to give one.
#[derive(Debug, thiserror::Error)]
#[error("no password")]
pub(super) struct GivenUp;

/// The password: from the file's first line, from `PANDA_PASSWORD`, or asked for without showing it; twice if it is a new one.
///
/// # Errors
/// The file cannot be read or its first line is empty, there is no terminal to ask at, or the two differ; [`GivenUp`] after Ctrl-C.
pub(super) fn password(file: Option<&Path>, is_new: bool) -> anyhow::Result<String> {
    if let Some(file) = file {
        let text = std::fs::read_to_string(file).with_context(|| format!("read the password in {}", file.display()))?;
        // Also where lines end as on Windows.
        let password = text.lines().next().unwrap_or_default();
        if password.is_empty() {
            bail!("there is no password in {}: its first line is to be one", file.display());
        }
        return Ok(password.to_owned());
    }
    if let Ok(password) = std::env::var("PANDA_PASSWORD") {
        return Ok(password);
    }
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask for a password: name it with --password-file or PANDA_PASSWORD");
    }
    if !is_new {
        return hidden(|| ask("password: "));
    }
    let (password, again) = hidden(|| Ok((ask("new password: ")?, ask("the same again: ")?)))?;
    if password != again {
        bail!("the two passwords differ; nothing was registered");
    }
    Ok(password)
}

/// Hides what is typed from before the first question until behind the last answer: whoever is fast types meanwhile.
fn hidden<T>(questions: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    enable_raw_mode().context("hide what is typed")?;
    let answers = questions();
    disable_raw_mode().context("show again what is typed")?;
    answers
}

#[expect(clippy::print_stderr, reason = "a question to whoever sits at the terminal")]
fn ask(question: &str) -> anyhow::Result<String> {
    eprint!("{question}");
    let typed = read_hidden();
    // A raw terminal goes down only.
    eprint!("\r\n");
    typed
}

fn read_hidden() -> anyhow::Result<String> {
    let mut typed = Typed::default();
    loop {
        let Event::Key(key) = read().context("read the password")? else { continue };
        match typed.key(key) {
            Outcome::More => {}
            Outcome::Whole => return Ok(typed.text),
            Outcome::GivenUp => return Err(GivenUp.into()),
            Outcome::Refused => bail!("no password"),
        }
    }
}

/// What was typed so far.
#[derive(Default)]
struct Typed {
    text: String,
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    More,
    Whole,
    /// By Ctrl-C.
    GivenUp,
    /// By an end of the input.
    Refused,
}

impl Typed {
    fn key(&mut self, key: KeyEvent) -> Outcome {
        if key.kind == KeyEventKind::Release {
            return Outcome::More;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            // Raw mode gives the line feed that some senders end a line with as Ctrl-J.
            KeyCode::Enter => return Outcome::Whole,
            KeyCode::Char('j') if is_control => return Outcome::Whole,
            KeyCode::Char('c') if is_control => return Outcome::GivenUp,
            KeyCode::Char('d') if is_control => return Outcome::Refused,
            KeyCode::Char('u') if is_control => self.text.clear(),
            KeyCode::Backspace => drop(self.text.pop()),
            KeyCode::Char(character) if !is_control && self.text.len() + character.len_utf8() <= PASSWORD_BYTES_MAX => {
                self.text.push(character);
            }
            _ => {}
        }
        Outcome::More
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
        KeyEvent::new(code, modifiers)
    }

    #[test]
    fn a_password_can_be_mended_and_given_up() {
        let mut typed = Typed::default();
        for character in "wrong".chars() {
            typed.key(press(KeyCode::Char(character), KeyModifiers::NONE));
        }
        typed.key(press(KeyCode::Char('u'), KeyModifiers::CONTROL));
        for character in "pä x".chars() {
            typed.key(press(KeyCode::Char(character), KeyModifiers::NONE));
        }
        typed.key(press(KeyCode::Backspace, KeyModifiers::NONE));
        assert_eq!(typed.key(press(KeyCode::Enter, KeyModifiers::NONE)), Outcome::Whole);
        assert_eq!(typed.text, "pä ");
        assert_eq!(typed.key(press(KeyCode::Char('c'), KeyModifiers::CONTROL)), Outcome::GivenUp);
        assert_eq!(typed.key(press(KeyCode::Char('d'), KeyModifiers::CONTROL)), Outcome::Refused);
    }

    #[test]
    fn a_files_first_line_is_the_password_and_one_without_it_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\n").unwrap();
        let refused = password(Some(file.path()), false).unwrap_err().to_string();
        assert!(refused.contains("there is no password in"), "{refused}");
        for whole in ["correct horse", "correct horse\n", "correct horse\r\n", "correct horse\nof ada\n"] {
            std::fs::write(file.path(), whole).unwrap();
            assert_eq!(password(Some(file.path()), false).unwrap(), "correct horse", "{whole:?}");
        }
    }

    #[test]
    fn a_password_beyond_the_limit_is_not_taken() {
        let mut typed = Typed::default();
        for _ in 0..=PASSWORD_BYTES_MAX {
            typed.key(press(KeyCode::Char('x'), KeyModifiers::NONE));
        }
        assert_eq!(typed.text.len(), PASSWORD_BYTES_MAX);
    }
}
