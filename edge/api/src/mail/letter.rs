//! What mails say: all their texts, in one place.

use panda_storage::user_store::Username;

/// A mail, before it has an address.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Letter {
    /// To an address that is to be proven.
    Verification {
        /// Whose.
        username: Username,
        /// The token's text.
        token: String,
    },
    /// To a proven address: a new password can be set.
    Reset {
        /// Whose.
        username: Username,
        /// The token's text.
        token: String,
    },
    /// To a proven address: a new password was set.
    PasswordChanged {
        /// Whose.
        username: Username,
    },
    /// To the proven address that an account had before: it has another one now, or none.
    AddressChanged {
        /// Whose.
        username: Username,
    },
}

impl Letter {
    /// Never anything that somebody filled in.
    pub(crate) const fn subject(&self) -> &'static str {
        match self {
            Self::Verification { .. } => "Is this your mail address?",
            Self::Reset { .. } => "A new password for your account",
            Self::PasswordChanged { .. } => "The password of your account was changed",
            Self::AddressChanged { .. } => "The mail address of your account was changed",
        }
    }

    /// Where the page does what this mail is for, if it is for anything. The token stands behind the `#`, which no browser
    /// sends: no log of a server or proxy has it.
    pub(crate) fn link(&self, base: &str) -> Option<String> {
        match self {
            Self::Verification { token, .. } => Some(format!("{base}/app/verify-email#{token}")),
            Self::Reset { token, .. } => Some(format!("{base}/app/reset-password#{token}")),
            Self::PasswordChanged { .. } | Self::AddressChanged { .. } => None,
        }
    }

    /// Plain text.
    pub(crate) fn text(&self, base: &str) -> String {
        let link = self.link(base).unwrap_or_default();
        match self {
            Self::Verification { username, .. } => format!(
                "Hello {username},\n\n\
                 open this link to show that you read mail at this address:\n\n\
                 {link}\n\n\
                 It is good once, for 24 hours. If you have no account at {base}\n\
                 under this name, leave it: somebody filled in a wrong address.\n"
            ),
            Self::Reset { username, .. } => format!(
                "Hello {username},\n\n\
                 open this link to set a new password for your account:\n\n\
                 {link}\n\n\
                 It is good once, for one hour, and then ends all your logins. If you did not\n\
                 ask for it, leave it: your password stays what it is.\n"
            ),
            Self::PasswordChanged { username } => format!(
                "Hello {username},\n\n\
                 the password of your account at {base} was changed.\n\
                 If you did not change it, ask for a new one there (\"forgot my password\"):\n\
                 that ends all logins.\n"
            ),
            Self::AddressChanged { username } => format!(
                "Hello {username},\n\n\
                 this address is no longer that of your account at {base}.\n\
                 If you did not change it, log in, change your password, and end all other\n\
                 logins. If you cannot log in any more, write to who runs {base}.\n"
            ),
        }
    }
}
