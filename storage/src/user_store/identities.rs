//! Identities: whom login providers mean, and which user that is.
//!
//! An identity is the provider's name in this deployment and the provider's own, unchanging word for a person, its
//! subject. A mail address is none: it is kept as it was told, for its user to recognize the identity by, and no account is
//! found by it.

use std::time::Duration;

use panda_protocol::{Time, UserId};

use super::{Email, ProviderName, Subject, UserStoreError};

/// Identities of a user.
pub const IDENTITIES_MAX: usize = 16;
/// The use of a code is remembered for so long behind its end: clocks of processes differ a little.
pub(crate) const CODE_KEPT: Duration = Duration::from_secs(60);

/// Names a code that is used once: random, of the code's maker.
pub type CodeId = [u8; 16];

/// Whom a provider means. No two users log in as the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityKey {
    /// Which provider.
    pub provider: ProviderName,
    /// Its word for the person.
    pub subject: Subject,
}

/// What a provider told of whoever logged in there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldIdentity {
    /// Whom it means.
    pub key: IdentityKey,
    /// The mail address, if it told one.
    pub email: Option<Email>,
    /// Whether the provider says that the address is that person's.
    pub email_verified: bool,
    /// Now.
    pub at: Time,
}

/// As what a user logs in at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Whom the provider means.
    pub key: IdentityKey,
    /// The mail address as the provider told it last.
    pub email: Option<Email>,
    /// Whether the provider said that the address is that person's.
    pub email_verified: bool,
    /// Since when.
    pub linked: Time,
    /// When it was last used.
    pub used: Time,
}

impl Identity {
    /// One that begins with what was told.
    pub(crate) fn new(told: &ToldIdentity) -> Self {
        let ToldIdentity { key, email, email_verified, at } = told.clone();
        Self { key, email, email_verified, linked: at, used: at }
    }

    /// Notes what was told later; the clock of another process may be behind.
    pub(crate) fn note(&mut self, told: &ToldIdentity) {
        self.email.clone_from(&told.email);
        self.email_verified = told.email_verified;
        self.used = self.used.max(told.at);
    }
}

/// Codes whose end is before this are forgotten.
pub(crate) fn codes_kept_from(now: Time) -> Time {
    Time(now.0.saturating_sub(u64::try_from(CODE_KEPT.as_micros()).unwrap_or(u64::MAX)))
}

/// Whether one of a user's identities may go.
///
/// # Errors
/// [`UserStoreError::NotFound`]: it is none of them. [`UserStoreError::LastWayIn`]: there is no password, and no other of
/// them is of a provider that lets anybody in.
pub(crate) fn may_unlink(
    identities: &[Identity],
    key: &IdentityKey,
    usable: &[ProviderName],
    has_password: bool,
) -> Result<(), UserStoreError> {
    if !identities.iter().any(|identity| identity.key == *key) {
        return Err(UserStoreError::NotFound);
    }
    let lets_in = |identity: &Identity| identity.key != *key && usable.contains(&identity.key.provider);
    if has_password || identities.iter().any(lets_in) { Ok(()) } else { Err(UserStoreError::LastWayIn) }
}

/// What becomes of an identity that a user wants to log in as: the one that is stored then.
///
/// # Errors
/// [`UserStoreError::Taken`]: another user logs in as that. [`UserStoreError::TooMany`].
pub(crate) fn link(
    stored: Option<(UserId, Identity)>,
    user: UserId,
    has: usize,
    told: &ToldIdentity,
) -> Result<Identity, UserStoreError> {
    match stored {
        Some((owner, _)) if owner != user => Err(UserStoreError::Taken(super::UniqueField::Identity)),
        Some((_, mut identity)) => {
            identity.note(told);
            Ok(identity)
        }
        None if has >= IDENTITIES_MAX => Err(UserStoreError::TooMany(IDENTITIES_MAX)),
        None => Ok(Identity::new(told)),
    }
}
