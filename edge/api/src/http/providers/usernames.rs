//! What a new user is called whom a provider brought: its name there, as far as usernames allow, and another one where that
//! is taken. Its user changes it in the profile.

use panda_storage::user_store::{USERNAME_CHARS_MAX, USERNAME_CHARS_MIN, Username};

/// Digits behind a name that is taken.
const DIGITS: u32 = 10_000;
/// Names that are tried before one is made of random characters alone.
pub(super) const TRIES: usize = 8;

/// A name to try: the first as the provider has it, the next ones with digits behind it, the last ones with nothing of it.
/// `random` makes each of them another one.
pub(super) fn proposed(called: Option<&str>, email: Option<&str>, attempt: usize, random: u64) -> Username {
    let local = email.and_then(|email| email.split('@').next());
    let base = [called, local].into_iter().flatten().find_map(plain);
    let text = match (base, attempt) {
        (Some(base), 0) => base,
        (Some(base), 1..TRIES) => {
            // Room for the digits.
            let kept: String = base.chars().take(USERNAME_CHARS_MAX - 5).collect();
            format!("{kept}-{:04}", random % u64::from(DIGITS))
        }
        _ => format!("user-{random:016x}"),
    };
    Username::parse(&text).unwrap_or_else(|_| {
        Username::parse(&format!("user-{random:016x}")).expect("21 letters, digits and '-' are a username")
    })
}

/// What usernames allow of a text, if that is a username.
fn plain(text: &str) -> Option<String> {
    // Of "Ada Lovelace" the words stay apart.
    let joined = text.split(char::is_whitespace).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(".");
    let allowed = |character: &char| character.is_ascii_alphanumeric() || ['.', '_', '-'].contains(character);
    let kept: String = joined.chars().filter(allowed).collect();
    let kept: String = kept.trim_start_matches(['.', '-']).chars().take(USERNAME_CHARS_MAX).collect();
    (kept.len() >= USERNAME_CHARS_MIN).then_some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(called: Option<&str>, email: Option<&str>, attempt: usize) -> String {
        proposed(called, email, attempt, 7).to_string()
    }

    #[test]
    fn a_name_is_what_the_provider_calls_a_person_as_far_as_usernames_allow() {
        assert_eq!(name(Some("ada"), None, 0), "ada");
        assert_eq!(name(Some("Ada Lovelace"), None, 0), "Ada.Lovelace");
        assert_eq!(name(Some("-.Zo\u{eb}!"), None, 0), "user-0000000000000007", "two letters are none");
        assert_eq!(name(Some("\u{639}\u{644}\u{64a}"), Some("ali@example.org"), 0), "ali");
        assert_eq!(name(None, None, 0), "user-0000000000000007");
        assert_eq!(name(Some(&"a".repeat(99)), None, 0).len(), USERNAME_CHARS_MAX);
    }

    #[test]
    fn a_name_that_is_taken_gets_digits_and_at_last_another_one() {
        assert_eq!(name(Some("ada"), None, 1), "ada-0007");
        assert_eq!(name(Some(&"a".repeat(99)), None, TRIES - 1).len(), USERNAME_CHARS_MAX);
        assert_eq!(name(Some("ada"), None, TRIES), "user-0000000000000007");
    }
}
