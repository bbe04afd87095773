//! What a picture is called.

use std::fmt;

use panda_protocol::UserId;
use ring::digest::{SHA256, digest};

/// Bytes of a picture's digest that are in its name.
const DIGEST_LEN: usize = 16;

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PictureFormat {
    /// JPEG (ISO/IEC 10918-1): where nothing shines through.
    Jpeg,
    /// PNG (ISO/IEC 15948).
    Png,
}

impl PictureFormat {
    /// What stands behind the dot of a file's name.
    const fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
        }
    }

    /// As `Content-Type` names it.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// The name of a picture: whose it is, and a digest of its bytes. Another picture has another name, so what is under one
/// never changes; and who does not know the bytes does not guess it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PictureName {
    user: UserId,
    digest: [u8; DIGEST_LEN],
    format: PictureFormat,
}

impl PictureName {
    /// The name of these bytes.
    pub fn of(user: UserId, format: PictureFormat, bytes: &[u8]) -> Self {
        let mut short = [0; DIGEST_LEN];
        short.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..DIGEST_LEN]);
        Self { user, digest: short, format }
    }

    /// Reads the two parts of a name as [`fmt::Display`] writes them; none for anything else.
    pub fn parse(user: &str, file: &str) -> Option<Self> {
        let parsed = user.parse().ok()?;
        let (hex, extension) = file.split_once('.')?;
        let format = [PictureFormat::Jpeg, PictureFormat::Png].into_iter().find(|one| one.extension() == extension)?;
        if hex.len() != DIGEST_LEN * 2 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut digest = [0; DIGEST_LEN];
        for (slot, at) in digest.iter_mut().zip((0..hex.len()).step_by(2)) {
            *slot = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
        }
        let name = Self { user: parsed, digest, format };
        // An identifier may have several spellings; a name has one.
        (name.user.to_string() == user).then_some(name)
    }

    /// Whose it is.
    pub const fn user(&self) -> UserId {
        self.user
    }

    /// How it is written.
    pub const fn format(&self) -> PictureFormat {
        self.format
    }

    /// Whether these are the bytes.
    pub(super) fn names(&self, bytes: &[u8]) -> bool {
        Self::of(self.user, self.format, bytes) == *self
    }

    /// The name without whose it is.
    pub(super) fn file(&self) -> String {
        let hex = self.digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let mut file: String = hex.filter_map(|digit| char::from_digit(u32::from(digit), 16)).collect();
        file.push('.');
        file.push_str(self.format.extension());
        file
    }
}

impl fmt::Display for PictureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.user, self.file())
    }
}

impl fmt::Debug for PictureName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserId {
        UserId::from_random([7; 16])
    }

    fn parse(text: &str) -> Option<PictureName> {
        let (user, file) = text.split_once('/')?;
        PictureName::parse(user, file)
    }

    #[test]
    fn a_name_is_read_as_it_is_written_and_is_one_of_its_bytes() {
        for format in [PictureFormat::Jpeg, PictureFormat::Png] {
            let name = PictureName::of(user(), format, b"bytes");
            assert_eq!(parse(&name.to_string()), Some(name));
            assert!(name.names(b"bytes") && !name.names(b"other"));
        }
    }

    #[test]
    fn nothing_else_is_a_name() {
        let good = PictureName::of(user(), PictureFormat::Png, b"bytes").to_string();
        let (user, file) = good.split_once('/').unwrap();
        let digits = &file[..DIGEST_LEN * 2];
        for text in [
            format!("{user}/../{file}"),
            format!("{user}/{digits}"),
            format!("{user}/{digits}.svg"),
            format!("{user}/{digits}.png.png"),
            format!("{user}/{}.png", digits.to_uppercase().replace(|digit: char| digit.is_ascii_digit(), "A")),
            format!("{user}/{}.png", &digits[1..]),
            format!("{user}/+{}.png", &digits[1..]),
            format!("{user}/%2e%2e.png"),
            format!("{}/{file}", user.to_lowercase() + "0"),
            format!("../{file}"),
            format!("/{file}"),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }
}
