//! Users in one SQLite file: one thread writes, a few read, each behind a bounded queue.

mod accounts;
mod api_keys;
mod failures;
mod identities;
mod import;
mod logins;
mod queries;
mod schema;
mod signing_keys;
mod threads;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use panda_protocol::{Time, UserId};
use rusqlite::Connection;

use crate::error::StoreError;
use crate::user_store::{
    ApiKey, ApiKeyDigest, ApiKeyId, CodeId, Credential, ENDED_LOGINS_MAX, Email, EndedLogin, FAILURE_KEYS_MAX,
    FailureKey, FailureRule, Failures, Identity, IdentityKey, Login, LoginLimits, MailLimit, MailPurpose,
    MailTokenDigest, NewLogin, NewMailToken, NewUser, PasswordChange, PasswordHash, ProviderName, Refresh, Refreshed,
    SealedSigningKey, ToldIdentity, USERS_MAX, User, UserChange, UserStore, UserStoreError, Username, WhichLogins,
};
use threads::Threads;

/// Threads that read.
const READERS: usize = 2;

/// The user store of one process. Clones share it; dropping the last one finishes what is queued and
/// closes the file.
#[derive(Clone)]
pub struct SqliteUsers {
    threads: Arc<Threads>,
}

impl SqliteUsers {
    /// Opens the file, makes it if it is not there, and migrates it if it is older. `now` is noted
    /// beside the migrations done.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer version wrote it; it is not touched then. [`StoreError::Corrupt`]
    /// if it is no user store.
    pub fn open(path: &Path, now: Time) -> Result<Self, StoreError> {
        Self::with_writer(schema::open_writer(path, now)?, path)
    }

    /// Opens the file beside another process that uses it, such as a running server: nothing is made or migrated.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`] if it is not there, or of an older version; else as [`Self::open`].
    pub fn open_beside(path: &Path) -> Result<Self, StoreError> {
        Self::with_writer(schema::open_beside(path)?, path)
    }

    fn with_writer(writer: Connection, path: &Path) -> Result<Self, StoreError> {
        let readers = (0..READERS).map(|_| schema::open_reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { threads: Arc::new(Threads::start(writer, readers)?) })
    }

    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, UserStoreError> + Send + 'static,
    ) -> Result<T, UserStoreError> {
        self.threads.write(job).await?
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, UserStoreError> + Send + 'static,
    ) -> Result<T, UserStoreError> {
        self.threads.read(|connection| job(connection)).await?
    }
}

const fn check_count(count: usize) -> Result<(), UserStoreError> {
    if count > USERS_MAX { Err(UserStoreError::TooMany(USERS_MAX)) } else { Ok(()) }
}

const fn check_ended(count: usize) -> Result<(), UserStoreError> {
    if count > ENDED_LOGINS_MAX { Err(UserStoreError::TooMany(ENDED_LOGINS_MAX)) } else { Ok(()) }
}

const fn check_keys(count: usize) -> Result<(), UserStoreError> {
    if count > FAILURE_KEYS_MAX { Err(UserStoreError::TooMany(FAILURE_KEYS_MAX)) } else { Ok(()) }
}

impl UserStore for SqliteUsers {
    async fn create_user(&self, user: NewUser) -> Result<User, UserStoreError> {
        self.write(move |connection| queries::create_user(connection, &user)).await
    }

    async fn ensure_users(&self, users: Vec<NewUser>) -> Result<Vec<User>, UserStoreError> {
        check_count(users.len())?;
        self.write(move |connection| queries::ensure_users(connection, &users)).await
    }

    async fn users(&self, ids: Vec<UserId>) -> Result<Vec<Option<User>>, UserStoreError> {
        check_count(ids.len())?;
        self.read(move |connection| ids.iter().map(|id| queries::user(connection, *id)).collect()).await
    }

    async fn users_by_name(&self, names: Vec<Username>) -> Result<Vec<Option<User>>, UserStoreError> {
        check_count(names.len())?;
        self.read(move |connection| names.iter().map(|name| queries::user_by_name(connection, name)).collect()).await
    }

    async fn credential(&self, name: Username) -> Result<Option<Credential>, UserStoreError> {
        self.read(move |connection| queries::credential(connection, &name)).await
    }

    async fn update_user(
        &self,
        id: UserId,
        change: UserChange,
        if_version: Option<u64>,
    ) -> Result<User, UserStoreError> {
        self.write(move |connection| queries::update_user(connection, id, &change, if_version)).await
    }

    async fn scan_users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<Credential>, UserStoreError> {
        check_count(limit)?;
        self.read(move |connection| import::scan_users(connection, after, limit)).await
    }

    async fn import_users(&self, users: Vec<Credential>) -> Result<(), UserStoreError> {
        check_count(users.len())?;
        self.write(move |connection| import::import_users(connection, &users)).await
    }

    async fn add_api_key(&self, key: ApiKey) -> Result<(), UserStoreError> {
        self.write(move |connection| api_keys::add(connection, &key)).await
    }

    async fn api_key(&self, digest: ApiKeyDigest) -> Result<Option<ApiKey>, UserStoreError> {
        self.read(move |connection| api_keys::find(connection, &digest)).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, UserStoreError> {
        self.read(api_keys::all).await
    }

    async fn api_key_count(&self) -> Result<u64, UserStoreError> {
        self.read(api_keys::count).await
    }

    async fn revoke_api_key(&self, id: ApiKeyId, now: Time) -> Result<Option<ApiKey>, UserStoreError> {
        self.write(move |connection| api_keys::revoke(connection, id, now)).await
    }

    async fn note_api_key_use(&self, digest: ApiKeyDigest, hour: Time) -> Result<(), UserStoreError> {
        self.write(move |connection| api_keys::note_use(connection, &digest, hour)).await
    }

    async fn add_signing_key(&self, key: SealedSigningKey) -> Result<(), UserStoreError> {
        self.write(move |connection| signing_keys::add(connection, &key)).await
    }

    async fn add_first_signing_key(&self, key: SealedSigningKey) -> Result<(), UserStoreError> {
        self.write(move |connection| signing_keys::add_first(connection, &key)).await
    }

    async fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, UserStoreError> {
        self.read(signing_keys::newest).await
    }

    async fn turn_signing_keys(&self, next: SealedSigningKey, now: Time) -> Result<(), UserStoreError> {
        self.write(move |connection| signing_keys::turn(connection, &next, now)).await
    }

    async fn lengthen_signing_keys(&self, kids: Vec<String>, longest_token: Duration) -> Result<(), UserStoreError> {
        self.write(move |connection| signing_keys::lengthen(connection, &kids, longest_token)).await
    }

    async fn reseal_signing_key(&self, kid: String, from: Vec<u8>, to: Vec<u8>) -> Result<bool, UserStoreError> {
        self.write(move |connection| signing_keys::reseal(connection, &kid, &from, &to)).await
    }

    async fn forget_signing_keys(&self, now: Time) -> Result<Vec<String>, UserStoreError> {
        self.write(move |connection| signing_keys::forget(connection, now)).await
    }

    async fn add_login(&self, login: NewLogin, limits: LoginLimits) -> Result<Vec<EndedLogin>, UserStoreError> {
        self.write(move |connection| logins::add_login(connection, &login, &limits)).await
    }

    async fn refresh_login(&self, refresh: Refresh, limits: LoginLimits) -> Result<Refreshed, UserStoreError> {
        self.write(move |connection| logins::refresh_login(connection, &refresh, &limits)).await
    }

    async fn logins(&self, user: UserId, limits: LoginLimits, now: Time) -> Result<Vec<Login>, UserStoreError> {
        self.read(move |connection| logins::logins(connection, user, &limits, now)).await
    }

    async fn end_logins(&self, user: UserId, which: WhichLogins, now: Time) -> Result<Vec<EndedLogin>, UserStoreError> {
        self.write(move |connection| logins::end_logins(connection, user, which, now)).await
    }

    async fn ended_logins(&self, after: u64, limit: usize) -> Result<Vec<EndedLogin>, UserStoreError> {
        check_ended(limit)?;
        self.read(move |connection| logins::ended_logins(connection, after, limit)).await
    }

    async fn credential_of(&self, user: UserId) -> Result<Option<Credential>, UserStoreError> {
        self.read(move |connection| accounts::credential_of(connection, user)).await
    }

    async fn user_by_verified_email(&self, email: Email) -> Result<Option<User>, UserStoreError> {
        self.read(move |connection| accounts::user_by_verified_email(connection, &email)).await
    }

    async fn add_mail_token(
        &self,
        token: NewMailToken,
        limit: MailLimit,
    ) -> Result<Result<(), Duration>, UserStoreError> {
        self.write(move |connection| accounts::add_mail_token(connection, &token, &limit)).await
    }

    async fn mail_token(
        &self,
        digest: MailTokenDigest,
        purpose: MailPurpose,
        now: Time,
    ) -> Result<Option<UserId>, UserStoreError> {
        self.read(move |connection| accounts::mail_token(connection, digest, purpose, now)).await
    }

    async fn verify_email(&self, digest: MailTokenDigest, now: Time) -> Result<Option<User>, UserStoreError> {
        self.write(move |connection| accounts::verify_email(connection, digest, now)).await
    }

    async fn reset_password(
        &self,
        digest: MailTokenDigest,
        password: PasswordHash,
        now: Time,
    ) -> Result<Option<(User, Vec<EndedLogin>)>, UserStoreError> {
        self.write(move |connection| accounts::reset_password(connection, digest, &password, now)).await
    }

    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<EndedLogin>>, UserStoreError> {
        self.write(move |connection| accounts::change_password(connection, &change)).await
    }

    async fn login_failures(&self, keys: Vec<FailureKey>) -> Result<Vec<Option<Failures>>, UserStoreError> {
        check_keys(keys.len())?;
        self.read(move |connection| failures::login_failures(connection, &keys)).await
    }

    async fn note_login_failures(
        &self,
        failures: Vec<(FailureKey, FailureRule)>,
        now: Time,
    ) -> Result<(), UserStoreError> {
        check_keys(failures.len())?;
        self.write(move |connection| failures::note_login_failures(connection, &failures, now)).await
    }

    async fn forget_login_failures(&self, keys: Vec<FailureKey>) -> Result<(), UserStoreError> {
        check_keys(keys.len())?;
        self.write(move |connection| failures::forget_login_failures(connection, &keys)).await
    }

    async fn deactivate_user(&self, user: UserId, now: Time) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
        self.write(move |connection| accounts::deactivate_user(connection, user, now)).await
    }

    async fn erase_user(&self, user: UserId, now: Time) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
        self.write(move |connection| accounts::erase_user(connection, user, now)).await
    }

    async fn user_of_identity(&self, told: ToldIdentity) -> Result<Option<User>, UserStoreError> {
        self.write(move |connection| identities::user_of_identity(connection, &told)).await
    }

    async fn create_user_of_identity(&self, user: NewUser, told: ToldIdentity) -> Result<User, UserStoreError> {
        self.write(move |connection| identities::create_user_of_identity(connection, &user, &told)).await
    }

    async fn link_identity(&self, user: UserId, told: ToldIdentity) -> Result<Identity, UserStoreError> {
        self.write(move |connection| identities::link_identity(connection, user, &told)).await
    }

    async fn identities(&self, user: UserId) -> Result<Vec<Identity>, UserStoreError> {
        self.read(move |connection| identities::identities(connection, user)).await
    }

    async fn unlink_identity(
        &self,
        user: UserId,
        key: IdentityKey,
        usable: Vec<ProviderName>,
    ) -> Result<(), UserStoreError> {
        self.write(move |connection| identities::unlink_identity(connection, user, &key, &usable)).await
    }

    async fn use_code(&self, code: CodeId, until: Time, now: Time) -> Result<bool, UserStoreError> {
        self.write(move |connection| identities::use_code(connection, &code, until, now)).await
    }
}

#[cfg(test)]
mod tests;
