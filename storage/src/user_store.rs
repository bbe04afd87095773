//! The user store: who there is, and by what they prove it.
//!
//! Everything a call returns `Ok` for survives the loss of power. Passwords come here hashed, API keys
//! and refresh tokens as digests, signing keys sealed: what is stored lets nobody in by itself.

mod accounts;
pub(crate) mod api_keys;
pub(crate) mod failures;
mod fields;
pub(crate) mod identities;
pub(crate) mod logins;
pub(crate) mod signing_keys;

use std::fmt;
use std::future::Future;
use std::time::Duration;

pub(crate) use accounts::same_address;
pub use accounts::{MailLimit, MailPurpose, MailTokenDigest, NewMailToken, PasswordChange};
pub use api_keys::{API_KEYS_MAX, ApiKey, ApiKeyDigest, ApiKeyId, Scopes};
pub use failures::{FAILURE_KEYS_MAX, FailureKey, FailureRule, Failures};
pub use fields::{
    ApiKeyLabel, EMAIL_BYTES_MAX, Email, FieldError, KEPT_PICTURES, LOGIN_LABEL_CHARS_MAX, LoginLabel,
    PICTURE_URL_BYTES_MAX, PROVIDER_NAME_CHARS_MAX, PictureUrl, ProviderName, SUBJECT_BYTES_MAX, Subject,
    USERNAME_CHARS_MAX, USERNAME_CHARS_MIN, Username,
};
pub use identities::{CodeId, IDENTITIES_MAX, Identity, IdentityKey, ToldIdentity};
pub use logins::{
    ENDED_LOGINS_MAX, EndedLogin, LOGINS_MAX, Login, LoginLimits, NewLogin, Refresh, RefreshDigest, Refreshed,
    WhichLogins,
};
use panda_protocol::{Time, UserId};
pub use signing_keys::{
    KeyStage, SIGNING_KEY_LEAD, SIGNING_KEYS_MAX, SealedSigningKey, TOKEN_LIFETIME_MAX, key_stages,
};

use crate::error::StoreError;

/// Users that one call creates or reads.
pub const USERS_MAX: usize = 1_000;

/// A user as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: UserId,
    /// The name, in the letters in which it was chosen.
    pub username: Username,
    /// Where to reach the user; known to the user and operators only.
    pub email: Option<Email>,
    /// Whether the user proved to read mail at that address. Of one address this is so for one user at most.
    pub email_verified: bool,
    /// Whether the account is used.
    pub state: AccountState,
    /// Where clients find a picture.
    pub picture: Option<PictureUrl>,
    /// Raised by one by every change; 1 at first.
    pub version: u64,
    /// When the user was created.
    pub created: Time,
}

/// What became of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccountState {
    /// It is used.
    #[default]
    Active,
    /// Its user put it aside; the next login takes it up again.
    Deactivated,
    /// Its user had it erased. Its name stands for nobody ([`Username::of_erased`]); the one that it had stays taken.
    Erased,
}

/// A password's hash in PHC form. Its `Debug` form shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(pub String);

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(hidden)")
    }
}

/// A user to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUser {
    /// A new identifier.
    pub id: UserId,
    /// A name that no other user has, whatever the case of its letters.
    pub username: Username,
    /// Where to reach the user.
    pub email: Option<Email>,
    /// Absent: nobody logs in as this user by a password.
    pub password: Option<PasswordHash>,
    /// Now.
    pub created: Time,
}

/// What to change of a user; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// Another name.
    pub username: Option<Username>,
    /// Another address, or none.
    pub email: Option<Option<Email>>,
    /// Another picture, or none.
    pub picture: Option<Option<PictureUrl>>,
}

/// What a login is checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Whose.
    pub user: User,
    /// The hash; absent: no password opens this user.
    pub password: Option<PasswordHash>,
}

/// A field that no two users share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UniqueField {
    /// The name, whatever the case of its letters.
    Username,
    /// The identifier.
    Id,
    /// The mail address, where it was proven.
    Email,
    /// Whom a login provider means: another user logs in as that.
    Identity,
}

impl UniqueField {
    /// The field's name in the HTTP API.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Username => "username",
            Self::Id => "id",
            Self::Email => "email",
            Self::Identity => "identity",
        }
    }
}

/// Why the user store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum UserStoreError {
    /// Another user has this value. Nothing changed.
    #[error("this {} is taken", .0.name())]
    Taken(UniqueField),
    /// There is no such user. Nothing changed.
    #[error("there is no such user")]
    NotFound,
    /// The user was changed since the version that was named. Nothing changed.
    #[error("the user has version {current} now")]
    VersionConflict {
        /// The version that is stored.
        current: u64,
    },
    /// The newest signing key does not sign yet. Nothing changed.
    #[error("the newest signing key does not sign yet")]
    KeysTurning {
        /// When it does.
        signs_from: Time,
    },
    /// Nothing else would let the user in. Nothing changed.
    #[error("it is the only way into this account")]
    LastWayIn,
    /// More than a call or the store takes. Nothing changed.
    #[error("more than the limit of {0}")]
    TooMany(usize),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Users, their credentials, identities and logins, and the deployment's keys.
pub trait UserStore: Clone + Send + Sync + 'static {
    /// Creates a user.
    ///
    /// # Errors
    /// [`UserStoreError::Taken`].
    fn create_user(&self, user: NewUser) -> impl Future<Output = Result<User, UserStoreError>> + Send;

    /// Creates those users whose names nobody has, all of them or none, and returns the users of all
    /// the names in order: repeating it changes nothing. A user that is there stays as it is. Of a
    /// name that is repeated in the call, the first is created.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] above [`USERS_MAX`]; [`UserStoreError::Taken`] where a name was that of a user who is erased.
    fn ensure_users(&self, users: Vec<NewUser>) -> impl Future<Output = Result<Vec<User>, UserStoreError>> + Send;

    /// Reads users, in the order asked for.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] above [`USERS_MAX`].
    fn users(&self, ids: Vec<UserId>) -> impl Future<Output = Result<Vec<Option<User>>, UserStoreError>> + Send;

    /// Finds users by their names, whatever the case of the letters, in the order asked for. Who is erased has none.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] above [`USERS_MAX`].
    fn users_by_name(
        &self,
        names: Vec<Username>,
    ) -> impl Future<Output = Result<Vec<Option<User>>, UserStoreError>> + Send;

    /// What a login under this name is checked against.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn credential(&self, name: Username) -> impl Future<Output = Result<Option<Credential>, UserStoreError>> + Send;

    /// Changes a user, if its version is still `if_version` where one is named. Another address is not proven.
    ///
    /// # Errors
    /// [`UserStoreError::Taken`], [`UserStoreError::NotFound`], [`UserStoreError::VersionConflict`].
    fn update_user(
        &self,
        id: UserId,
        change: UserChange,
        if_version: Option<u64>,
    ) -> impl Future<Output = Result<User, UserStoreError>> + Send;

    /// At most `limit` users behind `after` in the order of their identifiers, and by what they log in;
    /// none: there are no more. For work on the whole store.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] for a limit above [`USERS_MAX`].
    fn scan_users(
        &self,
        after: Option<UserId>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<Credential>, UserStoreError>> + Send;

    /// Takes over users of another store as they are there, version and all, but for that their addresses have to be proven
    /// anew, and that none is deactivated or erased; all of them or none. A user
    /// that is here stays as it is: repeating it changes nothing, however late.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] above [`USERS_MAX`]; [`UserStoreError::Taken`] if another user has one of
    /// the names.
    fn import_users(&self, users: Vec<Credential>) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Adds an API key; one that is there stays as it is, revoked or not. Where there is no room, those leave that open
    /// nothing any more.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] beyond [`API_KEYS_MAX`] that do.
    fn add_api_key(&self, key: ApiKey) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Finds an API key, one that opens nothing any more too.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn api_key(&self, digest: ApiKeyDigest) -> impl Future<Output = Result<Option<ApiKey>, UserStoreError>> + Send;

    /// All API keys, in the order of their digests.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn api_keys(&self) -> impl Future<Output = Result<Vec<ApiKey>, UserStoreError>> + Send;

    /// How many API keys there are, those that open nothing any more among them.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn api_key_count(&self) -> impl Future<Output = Result<u64, UserStoreError>> + Send;

    /// Revokes an API key, for good, and returns it; none: there is none of this name. One that was revoked before stays as
    /// it is.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn revoke_api_key(
        &self,
        id: ApiKeyId,
        now: Time,
    ) -> impl Future<Output = Result<Option<ApiKey>, UserStoreError>> + Send;

    /// Notes that an API key was used in this hour, or keeps a later one.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn note_api_key_use(
        &self,
        digest: ApiKeyDigest,
        hour: Time,
    ) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Adds a signing key; one of the same name stays as it is.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn add_signing_key(&self, key: SealedSigningKey) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Adds a signing key if there is none at all: of processes that start together one has its key taken,
    /// and all of them read that one.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn add_first_signing_key(&self, key: SealedSigningKey) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// The newest [`SIGNING_KEYS_MAX`] signing keys, newest first: in the order in which they begin to sign.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn signing_keys(&self) -> impl Future<Output = Result<Vec<SealedSigningKey>, UserStoreError>> + Send;

    /// Adds the key that signs next, and deletes those that are over. Of two that add at once one is refused.
    ///
    /// # Errors
    /// [`UserStoreError::KeysTurning`] until the key that was added last signs; [`UserStoreError::TooMany`] while
    /// [`SIGNING_KEYS_MAX`] are not over.
    fn turn_signing_keys(
        &self,
        next: SealedSigningKey,
        now: Time,
    ) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Says of signing keys that they sign tokens of this lifetime, too. What was said of a longer one stays.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn lengthen_signing_keys(
        &self,
        kids: Vec<String>,
        longest_token: Duration,
    ) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Stores a signing key under another seal, where it still lies under that one. Returns whether it did.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn reseal_signing_key(
        &self,
        kid: String,
        from: Vec<u8>,
        to: Vec<u8>,
    ) -> impl Future<Output = Result<bool, UserStoreError>> + Send;

    /// Deletes the signing keys that are over, and returns their names.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn forget_signing_keys(&self, now: Time) -> impl Future<Output = Result<Vec<String>, UserStoreError>> + Send;

    /// Begins a login of a user, who is active from then on. Returns those that were ended to make room for it.
    ///
    /// # Errors
    /// [`UserStoreError::NotFound`]: there is no such user, or it is erased.
    fn add_login(
        &self,
        login: NewLogin,
        limits: LoginLimits,
    ) -> impl Future<Output = Result<Vec<EndedLogin>, UserStoreError>> + Send;

    /// Uses a refresh token: [`Refreshed`] says what became of it. Of several uses at once each is decided behind the one
    /// before.
    ///
    /// # Errors
    /// [`UserStoreError::Store`]: whether it was used is not known; it may be brought again.
    fn refresh_login(
        &self,
        refresh: Refresh,
        limits: LoginLimits,
    ) -> impl Future<Output = Result<Refreshed, UserStoreError>> + Send;

    /// A user's logins whose time is not over, the last used first; at most [`LOGINS_MAX`].
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn logins(
        &self,
        user: UserId,
        limits: LoginLimits,
        now: Time,
    ) -> impl Future<Output = Result<Vec<Login>, UserStoreError>> + Send;

    /// Ends logins of a user. Returns those that were there.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn end_logins(
        &self,
        user: UserId,
        which: WhichLogins,
        now: Time,
    ) -> impl Future<Output = Result<Vec<EndedLogin>, UserStoreError>> + Send;

    /// At most `limit` logins that were ended, behind a place, in the order of their places; none: there are no more.
    /// Whoever goes on behind the last place that it saw misses none. They are forgotten some time after their last access
    /// token ended.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] for a limit above [`ENDED_LOGINS_MAX`].
    fn ended_logins(
        &self,
        after: u64,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<EndedLogin>, UserStoreError>> + Send;

    /// A user, and by what it logs in.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn credential_of(&self, user: UserId) -> impl Future<Output = Result<Option<Credential>, UserStoreError>> + Send;

    /// The user who proved to read mail at this address.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn user_by_verified_email(&self, email: Email)
    -> impl Future<Output = Result<Option<User>, UserStoreError>> + Send;

    /// Stores a token that is about to be sent. `Err` within says how long to wait for room in the limit of the account;
    /// nothing was stored then.
    ///
    /// # Errors
    /// [`UserStoreError::NotFound`]: there is no such user, or it has another address.
    fn add_mail_token(
        &self,
        token: NewMailToken,
        limit: MailLimit,
    ) -> impl Future<Output = Result<Result<(), Duration>, UserStoreError>> + Send;

    /// Whose a token is; none where it is not good: of another purpose, used, over, or sent to an address that the account has
    /// no more. One for a new password is good only while that address is proven.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn mail_token(
        &self,
        digest: MailTokenDigest,
        purpose: MailPurpose,
        now: Time,
    ) -> impl Future<Output = Result<Option<UserId>, UserStoreError>> + Send;

    /// Uses a token that proves an address, and with it all of that account; none: it is not good.
    ///
    /// # Errors
    /// [`UserStoreError::Taken`]: another user proved the address before; the token stays good.
    fn verify_email(
        &self,
        digest: MailTokenDigest,
        now: Time,
    ) -> impl Future<Output = Result<Option<User>, UserStoreError>> + Send;

    /// Uses a token that sets a new password, and with it all of that account; all its logins end. None: it is not good.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn reset_password(
        &self,
        digest: MailTokenDigest,
        password: PasswordHash,
        now: Time,
    ) -> impl Future<Output = Result<Option<(User, Vec<EndedLogin>)>, UserStoreError>> + Send;

    /// Changes a password, if it is still the one that its user proved to know; ends the other logins, and tokens that would
    /// set another one. None: it was changed meanwhile, and nothing happened.
    ///
    /// # Errors
    /// [`UserStoreError::NotFound`].
    fn change_password(
        &self,
        change: PasswordChange,
    ) -> impl Future<Output = Result<Option<Vec<EndedLogin>>, UserStoreError>> + Send;

    /// Failed logins that are counted under some keys, in the order asked for.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] above [`FAILURE_KEYS_MAX`].
    fn login_failures(
        &self,
        keys: Vec<FailureKey>,
    ) -> impl Future<Output = Result<Vec<Option<Failures>>, UserStoreError>> + Send;

    /// Counts one failed login more under each of some keys, by its rule. All of several at once are counted.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] above [`FAILURE_KEYS_MAX`].
    fn note_login_failures(
        &self,
        failures: Vec<(FailureKey, FailureRule)>,
        now: Time,
    ) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Forgets failed logins under some keys.
    ///
    /// # Errors
    /// [`UserStoreError::TooMany`] above [`FAILURE_KEYS_MAX`].
    fn forget_login_failures(&self, keys: Vec<FailureKey>) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Puts an account aside and ends all its logins, until the next one begins.
    ///
    /// # Errors
    /// [`UserStoreError::NotFound`]: there is no such user, or it is erased.
    fn deactivate_user(
        &self,
        user: UserId,
        now: Time,
    ) -> impl Future<Output = Result<(User, Vec<EndedLogin>), UserStoreError>> + Send;

    /// Erases an account for ever: its name, address, picture, password, links and logins. Its name in lower case stays taken;
    /// what others keep under its identifier is not touched.
    ///
    /// # Errors
    /// [`UserStoreError::NotFound`]: there is no such user, or it is erased.
    fn erase_user(
        &self,
        user: UserId,
        now: Time,
    ) -> impl Future<Output = Result<(User, Vec<EndedLogin>), UserStoreError>> + Send;

    /// The user whom a login provider means, and notes that it was used and what the provider told of it; none: nobody
    /// logs in as that.
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn user_of_identity(&self, told: ToldIdentity)
    -> impl Future<Output = Result<Option<User>, UserStoreError>> + Send;

    /// Creates a user who logs in as that, or neither.
    ///
    /// # Errors
    /// [`UserStoreError::Taken`]: of a name, or of what somebody logs in as already.
    fn create_user_of_identity(
        &self,
        user: NewUser,
        told: ToldIdentity,
    ) -> impl Future<Output = Result<User, UserStoreError>> + Send;

    /// Lets a user log in as that, too. Of one that does already only what was told is noted.
    ///
    /// # Errors
    /// [`UserStoreError::NotFound`]: no such user. [`UserStoreError::Taken`]: another user logs in as that.
    /// [`UserStoreError::TooMany`] beyond [`IDENTITIES_MAX`].
    fn link_identity(
        &self,
        user: UserId,
        told: ToldIdentity,
    ) -> impl Future<Output = Result<Identity, UserStoreError>> + Send;

    /// As what a user logs in at providers, in the order of their names and subjects; at most [`IDENTITIES_MAX`].
    ///
    /// # Errors
    /// [`UserStoreError::Store`].
    fn identities(&self, user: UserId) -> impl Future<Output = Result<Vec<Identity>, UserStoreError>> + Send;

    /// Lets a user log in as that no more. `usable` are the providers that let anybody in now: one of those, or a
    /// password, must be left.
    ///
    /// # Errors
    /// [`UserStoreError::NotFound`]: the user does not log in as that. [`UserStoreError::LastWayIn`].
    fn unlink_identity(
        &self,
        user: UserId,
        key: IdentityKey,
        usable: Vec<ProviderName>,
    ) -> impl Future<Output = Result<(), UserStoreError>> + Send;

    /// Uses a code that may be used once and not after `until`; false: it was used before, by whatever process. Its use is
    /// forgotten a minute after that: whoever takes codes looks at their end first.
    ///
    /// # Errors
    /// [`UserStoreError::Store`]: whether it was used is not known, and it is not to be taken.
    fn use_code(
        &self,
        code: CodeId,
        until: Time,
        now: Time,
    ) -> impl Future<Output = Result<bool, UserStoreError>> + Send;
}
