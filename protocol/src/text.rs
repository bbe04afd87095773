//! UTF-8 text that shares the buffer it was decoded from.

use core::fmt;
use core::ops::Deref;

use bytes::Bytes;

/// A string over shared bytes: cloning copies no text.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text(Bytes);

impl Text {
    /// Takes the bytes if they are UTF-8.
    ///
    /// # Errors
    /// The bytes are handed back if they are not UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, Bytes> {
        if core::str::from_utf8(&bytes).is_ok() { Ok(Self(bytes)) } else { Err(bytes) }
    }

    /// The text of a literal.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// The text as a string slice.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).expect("checked to be UTF-8 when it was made")
    }

    /// The text's bytes, shared.
    pub const fn as_shared(&self) -> &Bytes {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<alloc::string::String> for Text {
    fn from(text: alloc::string::String) -> Self {
        Self(Bytes::from(text.into_bytes()))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
