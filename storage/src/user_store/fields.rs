//! The rules of what a person may fill in. Each value is checked once, where it comes in.

use std::fmt;

use crate::pictures::PictureName;

/// The fewest characters of a username.
pub const USERNAME_CHARS_MIN: usize = 3;
/// The most characters of a username.
pub const USERNAME_CHARS_MAX: usize = 32;
/// Bytes of an email address (RFC 5321, section 4.5.3.1.3, without the brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Bytes of a picture's URL.
pub const PICTURE_URL_BYTES_MAX: usize = 2_048;
/// What the paths of pictures begin with that the deployment keeps itself.
pub const KEPT_PICTURES: &str = "/pictures/";
/// The most characters of a login's label.
pub const LOGIN_LABEL_CHARS_MAX: usize = 64;
/// The most characters of a login provider's name.
pub const PROVIDER_NAME_CHARS_MAX: usize = 32;
/// Bytes of a subject (OpenID Connect Core 1.0, section 2).
pub const SUBJECT_BYTES_MAX: usize = 255;

/// Why a value is not allowed in its field. The text is for the person who filled it in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// Longer than its field; names the limit in characters or bytes.
    #[error("it may have at most {0} characters")]
    TooLong(usize),
    /// Another form than its field has; says which.
    #[error("{0}")]
    Form(&'static str),
}

macro_rules! field {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

field!(
    /// A username: 3 to 32 characters, each an ASCII letter or digit, `.`, `_` or `-`; the first is a
    /// letter, a digit or `_`. Names that differ only in the case of letters are the same name.
    ///
    /// Only ASCII, so that no name can be mistaken for another that looks the same.
    Username
);
field!(
    /// An email address: at most 254 bytes, something on both sides of one `@`, no space or control
    /// character. Whether it reaches anybody is not known.
    Email
);
field!(
    /// Where a picture is: an absolute `https` or `http` URL of at most 2,048 bytes without spaces or control characters,
    /// which the server never fetches; or the path of one that it keeps itself ([`PictureUrl::kept`]).
    PictureUrl
);
field!(
    /// What a client calls the device of a login, such as "Firefox on the laptop": 1 to 64 characters, none of them a
    /// control character, and not only spaces.
    LoginLabel
);

field!(
    /// What a person calls an API key, such as "the shop's back end": as a [`LoginLabel`].
    ApiKeyLabel
);

field!(
    /// What a deployment calls a login provider: 1 to 32 characters, each a lower-case ASCII letter, a digit or `-`; the
    /// first is a letter. It stands in addresses and beside every identity of that provider, so it never gets another
    /// meaning.
    ProviderName
);
field!(
    /// Whom a login provider means: 1 to 255 bytes of printable ASCII, compared byte by byte (OpenID Connect Core 1.0,
    /// section 2). Nobody reads it.
    Subject
);

impl ProviderName {
    /// Takes the text if it keeps the rule.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.len() > PROVIDER_NAME_CHARS_MAX {
            return Err(FieldError::TooLong(PROVIDER_NAME_CHARS_MAX));
        }
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !text.starts_with(|first: char| first.is_ascii_lowercase()) || !text.bytes().all(allowed) {
            return Err(FieldError::Form(
                "a login provider's name has 1 to 32 lower-case letters (a-z), digits or '-', and begins with a letter",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Subject {
    /// Takes the text if it keeps the rule.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.len() > SUBJECT_BYTES_MAX {
            return Err(FieldError::TooLong(SUBJECT_BYTES_MAX));
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
            return Err(FieldError::Form("a subject has 1 to 255 printable ASCII characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Username {
    /// What stands in the place of the name of a user who is erased.
    pub fn of_erased(user: panda_protocol::UserId) -> Self {
        Self(format!("gone-{user}"))
    }

    /// Takes the text if it keeps the rule.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        // The bytes are counted before anything walks them: a name may come with any size.
        if text.len() > USERNAME_CHARS_MAX * 4 || text.chars().count() > USERNAME_CHARS_MAX {
            return Err(FieldError::TooLong(USERNAME_CHARS_MAX));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let first_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if text.len() < USERNAME_CHARS_MIN || !text.bytes().all(allowed) || !text.bytes().take(1).all(first_allowed) {
            return Err(FieldError::Form(
                "a username has 3 to 32 letters (a-z), digits, '.', '_' or '-', and begins with a letter, a digit or '_'",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// The form by which names are compared.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl Email {
    /// What is compared: addresses that differ in the case of ASCII letters only are the same. By RFC 5321 the part before the
    /// `@` might be another mailbox then; nobody who runs mail does that.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Takes the text if it keeps the rule.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.len() > EMAIL_BYTES_MAX {
            return Err(FieldError::TooLong(EMAIL_BYTES_MAX));
        }
        let sides = text
            .split_once('@')
            .filter(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
        if sides.is_none() || text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(FieldError::Form("an email address looks like name@example.org"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl PictureUrl {
    /// Takes the text if it keeps the rule.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.len() > PICTURE_URL_BYTES_MAX {
            return Err(FieldError::TooLong(PICTURE_URL_BYTES_MAX));
        }
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']));
        if !host || text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err(FieldError::Form("a picture is an address that begins with https:// or http://"));
        }
        Ok(Self(text.to_owned()))
    }

    /// Where a picture is that the deployment keeps itself: a path of its HTTP API.
    pub fn kept(name: &PictureName) -> Self {
        Self(format!("{KEPT_PICTURES}{name}"))
    }

    /// Takes what a user has already: what [`Self::parse`] takes, and what [`Self::kept`] made.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn stored(text: &str) -> Result<Self, FieldError> {
        match kept_name(text) {
            Some(name) => Ok(Self::kept(&name)),
            None => Self::parse(text),
        }
    }

    /// The name of the picture, if the deployment keeps it itself.
    pub fn kept_name(&self) -> Option<PictureName> {
        kept_name(&self.0)
    }
}

fn kept_name(text: &str) -> Option<PictureName> {
    let (user, file) = text.strip_prefix(KEPT_PICTURES)?.split_once('/')?;
    PictureName::parse(user, file)
}

impl LoginLabel {
    /// Takes the text if it keeps the rule.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        label(text).map(Self)
    }
}

impl ApiKeyLabel {
    /// Takes the text if it keeps the rule.
    ///
    /// # Errors
    /// [`FieldError`].
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        label(text).map(Self)
    }
}

fn label(text: &str) -> Result<String, FieldError> {
    // The bytes are counted before anything walks them: a label may come with any size.
    if text.len() > LOGIN_LABEL_CHARS_MAX * 4 || text.chars().count() > LOGIN_LABEL_CHARS_MAX {
        return Err(FieldError::TooLong(LOGIN_LABEL_CHARS_MAX));
    }
    if text.trim().is_empty() || text.chars().any(char::is_control) {
        return Err(FieldError::Form("a label has 1 to 64 characters, and none of them is a control character"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::PictureFormat;

    #[test]
    fn usernames_keep_their_rule() {
        for name in ["ada", "Ada.Lovelace", "_gpg_", "7of9", "a-b", &"x".repeat(USERNAME_CHARS_MAX)] {
            assert_eq!(Username::parse(name).unwrap().as_str(), name);
        }
        for name in ["", "ab", ".abc", "-abc", "a b", "a@b", "\u{e4}da", "ada\u{0}", "ад\u{430}", "a\u{308}da"] {
            assert!(matches!(Username::parse(name), Err(FieldError::Form(_))), "{name:?}");
        }
        for name in ["x".repeat(USERNAME_CHARS_MAX + 1), "x".repeat(64 * 1024), "ж".repeat(33)] {
            assert_eq!(Username::parse(&name), Err(FieldError::TooLong(USERNAME_CHARS_MAX)));
        }
    }

    #[test]
    fn names_that_differ_in_case_have_one_key() {
        assert_eq!(Username::parse("ADA").unwrap().key(), Username::parse("ada").unwrap().key());
    }

    #[test]
    fn emails_keep_their_rule() {
        for email in ["a@b", "ада@пример.рф", "first.last+tag@example.org"] {
            assert!(Email::parse(email).is_ok(), "{email}");
        }
        for email in ["", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n"] {
            assert!(matches!(Email::parse(email), Err(FieldError::Form(_))), "{email:?}");
        }
        assert_eq!(Email::parse(&"x".repeat(EMAIL_BYTES_MAX + 1)), Err(FieldError::TooLong(EMAIL_BYTES_MAX)));
    }

    #[test]
    fn pictures_keep_their_rule() {
        for url in ["https://example.org/a.png", "http://127.0.0.1:8080/x?y#z"] {
            assert!(PictureUrl::parse(url).is_ok(), "{url}");
        }
        for url in
            ["", "https://", "https:///x", "javascript:alert(1)", "data:image/png;base64,AA", "https://a b", "//a/b"]
        {
            assert!(matches!(PictureUrl::parse(url), Err(FieldError::Form(_))), "{url:?}");
        }
        // What the deployment keeps nobody names, but it is read again.
        let name = PictureName::of(panda_protocol::UserId::from_random([1; 16]), PictureFormat::Png, b"bytes");
        let kept = PictureUrl::kept(&name);
        assert_eq!(PictureUrl::stored(kept.as_str()), Ok(kept.clone()));
        assert_eq!(kept.kept_name(), Some(name));
        assert!(PictureUrl::parse(kept.as_str()).is_err() && PictureUrl::stored("/pictures/a/../b").is_err());
        assert!(PictureUrl::stored("https://example.org/a.png").is_ok());
        let long = format!("https://{}", "x".repeat(PICTURE_URL_BYTES_MAX));
        assert_eq!(PictureUrl::parse(&long), Err(FieldError::TooLong(PICTURE_URL_BYTES_MAX)));
    }
    #[test]
    fn labels_keep_their_rule() {
        for label in ["Firefox", "Ada's \u{1f4bb}", &"ж".repeat(LOGIN_LABEL_CHARS_MAX)] {
            assert_eq!(LoginLabel::parse(label).unwrap().as_str(), label);
        }
        for label in ["", "  ", "a\nb", "a\u{0}", "\u{9b}31m"] {
            assert!(matches!(LoginLabel::parse(label), Err(FieldError::Form(_))), "{label:?}");
        }
        for label in
            ["x".repeat(LOGIN_LABEL_CHARS_MAX + 1), "ж".repeat(LOGIN_LABEL_CHARS_MAX + 1), "x".repeat(64 * 1024)]
        {
            assert_eq!(LoginLabel::parse(&label), Err(FieldError::TooLong(LOGIN_LABEL_CHARS_MAX)));
        }
    }
}
