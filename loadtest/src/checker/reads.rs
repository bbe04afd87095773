//! What a GET must show behind the answer to a POST.

use super::chat::ChatCheck;
use super::violation::Violation;

/// A GET that began behind the answer to a POST, and was answered. Targets are counted from 1.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    /// Which target answered the POST.
    pub posted_at: usize,
    /// Which target answered the GET.
    pub read_at: usize,
    /// The seq that the POST was answered with.
    pub seq: u64,
    /// What was posted.
    pub text: &'a str,
}

/// What the first good answer to a GET showed.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The chat's last event.
    pub head: u64,
    /// The text of the message at the seq that was asked about, if there is one.
    pub text: Option<&'a str>,
}

impl ChatCheck {
    /// A GET was answered: the message must be there, at its seq and with its text.
    pub fn read(&mut self, read: &Read<'_>, shown: Result<Shown<'_>, u16>) {
        let Read { posted_at, read_at, seq, text } = *read;
        let Shown { head, text: got } = match shown {
            Ok(shown) => shown,
            Err(code) => return self.violated(Violation::ReadRefused { seq, read_at, code }),
        };
        let there = match got {
            None => "nothing".to_owned(),
            Some(got) if got != text => format!("the text {:016x}", super::digest(got.as_bytes())),
            Some(_) if head < seq => "it behind the head".to_owned(),
            Some(_) => return,
        };
        self.violated(Violation::ReadMissed { seq, posted_at, read_at, head, there });
    }
}

#[cfg(test)]
mod tests {
    use panda_protocol::{ChatId, UserId};

    use super::*;

    fn judged(shown: Result<Shown<'_>, u16>) -> Vec<Violation> {
        let user = |byte| UserId::from_random([byte; 16]);
        let mut check = ChatCheck::new(ChatId::direct(user(1), user(2)));
        check.read(&Read { posted_at: 1, read_at: 3, seq: 7, text: "tea" }, shown);
        check.finish().kept
    }

    #[test]
    fn what_was_posted_is_there() {
        assert_eq!(judged(Ok(Shown { head: 7, text: Some("tea") })), []);
        assert_eq!(judged(Ok(Shown { head: 70, text: Some("tea") })), []);
    }

    #[test]
    fn a_read_that_misses_or_alters_it_is_found() {
        let missed =
            |head, there: &str| Violation::ReadMissed { seq: 7, posted_at: 1, read_at: 3, head, there: there.into() };
        assert_eq!(judged(Ok(Shown { head: 6, text: None })), [missed(6, "nothing")]);
        assert_eq!(judged(Ok(Shown { head: 7, text: None })), [missed(7, "nothing")]);
        assert_eq!(judged(Ok(Shown { head: 6, text: Some("tea") })), [missed(6, "it behind the head")]);
        let found = judged(Ok(Shown { head: 7, text: Some("Tea") }));
        assert!(
            matches!(&found[..], [Violation::ReadMissed { there, .. }] if there.starts_with("the text")),
            "{found:?}"
        );
    }

    #[test]
    fn a_members_read_that_is_refused_for_good_is_found() {
        let found = judged(Err(2202));
        assert_eq!(found, [Violation::ReadRefused { seq: 7, read_at: 3, code: 2202 }]);
        assert!(found[0].to_string().contains("refused with 2202"));
    }
}
