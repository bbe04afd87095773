//! The name of a login.

use core::fmt;
use core::num::NonZeroU64;
use core::str::FromStr;

use crate::ids::IdError;

/// Characters of a login's name as text.
pub const LOGIN_ID_TEXT_LEN: usize = 16;

/// One login of a user: what began when the user registered or logged in, with every token that came of it.
///
/// It names one among the logins of its user, of which there are few, and stands in access tokens and resume tickets
/// only, of which every session keeps one: so it has half the bytes of an identifier, and none of it is zero. As text it
/// has 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoginId(NonZeroU64);

impl LoginId {
    /// Makes one from a random number.
    pub const fn from_random(random: u64) -> Self {
        match NonZeroU64::new(random) {
            Some(number) => Self(number),
            None => Self(NonZeroU64::MIN),
        }
    }

    /// Takes the bytes unless all of them are zero.
    pub const fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        match NonZeroU64::new(u64::from_be_bytes(bytes)) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// Its bytes.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for LoginId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for LoginId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != LOGIN_ID_TEXT_LEN || !text.bytes().all(digit) {
            return Err(IdError::Text);
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| IdError::Text)?;
        Self::from_bytes(number.to_be_bytes()).ok_or(IdError::Text)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString as _;

    use super::*;

    #[test]
    fn a_login_has_one_text() {
        let id = LoginId::from_random(0x00ab_cdef_0123_4567);
        assert_eq!(id.to_string(), "00abcdef01234567");
        assert_eq!("00abcdef01234567".parse(), Ok(id));
        assert_eq!(LoginId::from_bytes(id.to_bytes()), Some(id));
        for text in [
            "",
            "0",
            "00ABCDEF01234567",
            "+0abcdef01234567",
            "00abcdef012345678",
            "0000000000000000",
            "00abcdef0123456\u{e4}",
        ] {
            assert_eq!(text.parse::<LoginId>(), Err(IdError::Text), "{text}");
        }
    }

    #[test]
    fn none_is_zero_and_an_absent_one_takes_no_room() {
        assert_eq!(LoginId::from_bytes([0; 8]), None);
        assert_eq!(LoginId::from_random(0).to_bytes(), [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(size_of::<Option<LoginId>>(), 8);
    }
}
