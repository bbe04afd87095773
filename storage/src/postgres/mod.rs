//! Users in Postgres, shared by all processes of a cluster.
//!
//! Every call ends within [`PostgresLimits::call`]. After an error or a dropped future nothing stays
//! locked or half done on the server; whether a write whose answer was lost happened is not known.
//! Needs a server of its own sessions: a pooler in front of it must pool sessions, not transactions.

mod accounts;
mod api_keys;
mod config;
mod errors;
mod failures;
mod identities;
mod import;
mod logins;
mod pool;
mod queries;
mod rows;
mod schema;
mod signing_keys;

use std::time::Duration;

use panda_protocol::{Time, UserId};

pub use self::config::{PostgresConfig, PostgresLimits};
use self::pool::Connections;
use crate::error::StoreError;
use crate::user_store::{
    ApiKey, ApiKeyDigest, ApiKeyId, CodeId, Credential, ENDED_LOGINS_MAX, Email, EndedLogin, FAILURE_KEYS_MAX,
    FailureKey, FailureRule, Failures, Identity, IdentityKey, Login, LoginLimits, MailLimit, MailPurpose,
    MailTokenDigest, NewLogin, NewMailToken, NewUser, PasswordChange, PasswordHash, ProviderName, Refresh, Refreshed,
    SealedSigningKey, ToldIdentity, USERS_MAX, User, UserChange, UserStore, UserStoreError, Username, WhichLogins,
};

/// The user store of a cluster. Clones share its connections.
#[derive(Clone)]
pub struct PostgresUsers {
    connections: Connections,
}

impl PostgresUsers {
    /// Connects, makes the tables if they are not there, and migrates them if they are older. Several
    /// processes may do so at once. `now` is noted beside the migrations done.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a newer version migrated them; they are not touched then.
    /// [`StoreError::Corrupt`] if the database holds something else under the same name.
    /// [`StoreError::Misconfigured`] if the URL or the authorities cannot be read, or the server knows no
    /// such user, password or database. [`StoreError::Unavailable`] if the server is away.
    pub async fn open(config: &PostgresConfig, now: Time) -> Result<Self, StoreError> {
        let connections = Connections::new(config)?;
        match schema::prepare(&connections, schema::MIGRATIONS, now).await {
            Ok(()) => Ok(Self { connections }),
            Err(UserStoreError::Store(error)) => Err(error),
            Err(error) => Err(StoreError::Corrupt(error.to_string())),
        }
    }

    /// Calls that were made of the server so far, those of the start included; clones count together. Reads of ended
    /// logins and of signing keys, of which every process makes some at all times, are none of them.
    pub fn calls(&self) -> u64 {
        self.connections.calls()
    }
}

const fn check_count(count: usize) -> Result<(), UserStoreError> {
    if count > USERS_MAX { Err(UserStoreError::TooMany(USERS_MAX)) } else { Ok(()) }
}

const fn check_keys(count: usize) -> Result<(), UserStoreError> {
    if count > FAILURE_KEYS_MAX { Err(UserStoreError::TooMany(FAILURE_KEYS_MAX)) } else { Ok(()) }
}

impl UserStore for PostgresUsers {
    async fn create_user(&self, user: NewUser) -> Result<User, UserStoreError> {
        self.connections.call(async |client| queries::create_user(client, &user).await).await
    }

    async fn ensure_users(&self, users: Vec<NewUser>) -> Result<Vec<User>, UserStoreError> {
        check_count(users.len())?;
        self.connections.call(async |client| queries::ensure_users(client, &users).await).await
    }

    async fn users(&self, ids: Vec<UserId>) -> Result<Vec<Option<User>>, UserStoreError> {
        check_count(ids.len())?;
        self.connections.call(async |client| queries::users(client, &ids).await).await
    }

    async fn users_by_name(&self, names: Vec<Username>) -> Result<Vec<Option<User>>, UserStoreError> {
        check_count(names.len())?;
        self.connections.call(async |client| queries::users_by_name(client, &names).await).await
    }

    async fn credential(&self, name: Username) -> Result<Option<Credential>, UserStoreError> {
        self.connections.call(async |client| queries::credential(client, &name).await).await
    }

    async fn update_user(
        &self,
        id: UserId,
        change: UserChange,
        if_version: Option<u64>,
    ) -> Result<User, UserStoreError> {
        self.connections.call(async |client| queries::update_user(client, id, change, if_version).await).await
    }

    async fn scan_users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<Credential>, UserStoreError> {
        check_count(limit)?;
        self.connections.call(async |client| import::scan_users(client, after, limit).await).await
    }

    async fn import_users(&self, users: Vec<Credential>) -> Result<(), UserStoreError> {
        check_count(users.len())?;
        self.connections.call(async |client| import::import_users(client, &users).await).await
    }

    async fn add_api_key(&self, key: ApiKey) -> Result<(), UserStoreError> {
        self.connections.call(async |client| api_keys::add(client, &key).await).await
    }

    async fn api_key(&self, digest: ApiKeyDigest) -> Result<Option<ApiKey>, UserStoreError> {
        self.connections.call(async |client| api_keys::find(client, &digest).await).await
    }

    async fn api_keys(&self) -> Result<Vec<ApiKey>, UserStoreError> {
        self.connections.call(async |client| api_keys::all(client).await).await
    }

    async fn api_key_count(&self) -> Result<u64, UserStoreError> {
        self.connections.call(async |client| api_keys::count(client).await).await
    }

    async fn revoke_api_key(&self, id: ApiKeyId, now: Time) -> Result<Option<ApiKey>, UserStoreError> {
        self.connections.call(async |client| api_keys::revoke(client, id, now).await).await
    }

    async fn note_api_key_use(&self, digest: ApiKeyDigest, hour: Time) -> Result<(), UserStoreError> {
        self.connections.call(async |client| api_keys::note_use(client, &digest, hour).await).await
    }

    async fn add_signing_key(&self, key: SealedSigningKey) -> Result<(), UserStoreError> {
        self.connections.call(async |client| signing_keys::add(client, &key).await).await
    }

    async fn add_first_signing_key(&self, key: SealedSigningKey) -> Result<(), UserStoreError> {
        self.connections.call(async |client| signing_keys::add_first(client, &key).await).await
    }

    async fn signing_keys(&self) -> Result<Vec<SealedSigningKey>, UserStoreError> {
        self.connections.watch(async |client| signing_keys::newest(client).await).await
    }

    async fn turn_signing_keys(&self, next: SealedSigningKey, now: Time) -> Result<(), UserStoreError> {
        self.connections.call(async |client| signing_keys::turn(client, &next, now).await).await
    }

    async fn lengthen_signing_keys(&self, kids: Vec<String>, longest_token: Duration) -> Result<(), UserStoreError> {
        self.connections.call(async |client| signing_keys::lengthen(client, &kids, longest_token).await).await
    }

    async fn reseal_signing_key(&self, kid: String, from: Vec<u8>, to: Vec<u8>) -> Result<bool, UserStoreError> {
        self.connections.call(async |client| signing_keys::reseal(client, &kid, &from, &to).await).await
    }

    async fn forget_signing_keys(&self, now: Time) -> Result<Vec<String>, UserStoreError> {
        self.connections.call(async |client| signing_keys::forget(client, now).await).await
    }

    async fn add_login(&self, login: NewLogin, limits: LoginLimits) -> Result<Vec<EndedLogin>, UserStoreError> {
        self.connections.call(async |client| logins::add_login(client, &login, &limits).await).await
    }

    async fn refresh_login(&self, refresh: Refresh, limits: LoginLimits) -> Result<Refreshed, UserStoreError> {
        self.connections.call(async |client| logins::refresh_login(client, &refresh, &limits).await).await
    }

    async fn logins(&self, user: UserId, limits: LoginLimits, now: Time) -> Result<Vec<Login>, UserStoreError> {
        self.connections.call(async |client| logins::logins(client, user, &limits, now).await).await
    }

    async fn end_logins(&self, user: UserId, which: WhichLogins, now: Time) -> Result<Vec<EndedLogin>, UserStoreError> {
        self.connections.call(async |client| logins::end_logins(client, user, which, now).await).await
    }

    async fn ended_logins(&self, after: u64, limit: usize) -> Result<Vec<EndedLogin>, UserStoreError> {
        if limit > ENDED_LOGINS_MAX {
            return Err(UserStoreError::TooMany(ENDED_LOGINS_MAX));
        }
        self.connections.watch(async |client| logins::ended_logins(client, after, limit).await).await
    }

    async fn credential_of(&self, user: UserId) -> Result<Option<Credential>, UserStoreError> {
        self.connections.call(async |client| accounts::credential_of(client, user).await).await
    }

    async fn user_by_verified_email(&self, email: Email) -> Result<Option<User>, UserStoreError> {
        self.connections.call(async |client| accounts::user_by_verified_email(client, &email).await).await
    }

    async fn add_mail_token(
        &self,
        token: NewMailToken,
        limit: MailLimit,
    ) -> Result<Result<(), Duration>, UserStoreError> {
        self.connections.call(async |client| accounts::add_mail_token(client, &token, &limit).await).await
    }

    async fn mail_token(
        &self,
        digest: MailTokenDigest,
        purpose: MailPurpose,
        now: Time,
    ) -> Result<Option<UserId>, UserStoreError> {
        self.connections.call(async |client| accounts::mail_token(client, digest, purpose, now).await).await
    }

    async fn verify_email(&self, digest: MailTokenDigest, now: Time) -> Result<Option<User>, UserStoreError> {
        self.connections.call(async |client| accounts::verify_email(client, digest, now).await).await
    }

    async fn reset_password(
        &self,
        digest: MailTokenDigest,
        password: PasswordHash,
        now: Time,
    ) -> Result<Option<(User, Vec<EndedLogin>)>, UserStoreError> {
        self.connections.call(async |client| accounts::reset_password(client, digest, &password, now).await).await
    }

    async fn change_password(&self, change: PasswordChange) -> Result<Option<Vec<EndedLogin>>, UserStoreError> {
        self.connections.call(async |client| accounts::change_password(client, &change).await).await
    }

    async fn login_failures(&self, keys: Vec<FailureKey>) -> Result<Vec<Option<Failures>>, UserStoreError> {
        check_keys(keys.len())?;
        self.connections.call(async |client| failures::login_failures(client, &keys).await).await
    }

    async fn note_login_failures(
        &self,
        failures: Vec<(FailureKey, FailureRule)>,
        now: Time,
    ) -> Result<(), UserStoreError> {
        check_keys(failures.len())?;
        self.connections.call(async |client| failures::note_login_failures(client, failures, now).await).await
    }

    async fn forget_login_failures(&self, keys: Vec<FailureKey>) -> Result<(), UserStoreError> {
        check_keys(keys.len())?;
        self.connections.call(async |client| failures::forget_login_failures(client, &keys).await).await
    }

    async fn deactivate_user(&self, user: UserId, now: Time) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
        self.connections.call(async |client| accounts::deactivate_user(client, user, now).await).await
    }

    async fn erase_user(&self, user: UserId, now: Time) -> Result<(User, Vec<EndedLogin>), UserStoreError> {
        self.connections.call(async |client| accounts::erase_user(client, user, now).await).await
    }

    async fn user_of_identity(&self, told: ToldIdentity) -> Result<Option<User>, UserStoreError> {
        self.connections.call(async |client| identities::user_of_identity(client, &told).await).await
    }

    async fn create_user_of_identity(&self, user: NewUser, told: ToldIdentity) -> Result<User, UserStoreError> {
        self.connections.call(async |client| identities::create_user_of_identity(client, &user, &told).await).await
    }

    async fn link_identity(&self, user: UserId, told: ToldIdentity) -> Result<Identity, UserStoreError> {
        self.connections.call(async |client| identities::link_identity(client, user, &told).await).await
    }

    async fn identities(&self, user: UserId) -> Result<Vec<Identity>, UserStoreError> {
        self.connections.call(async |client| identities::identities(client, user).await).await
    }

    async fn unlink_identity(
        &self,
        user: UserId,
        key: IdentityKey,
        usable: Vec<ProviderName>,
    ) -> Result<(), UserStoreError> {
        self.connections.call(async |client| identities::unlink_identity(client, user, &key, &usable).await).await
    }

    async fn use_code(&self, code: CodeId, until: Time, now: Time) -> Result<bool, UserStoreError> {
        self.connections.call(async |client| identities::use_code(client, &code, until, now).await).await
    }
}

#[cfg(test)]
mod tests;
