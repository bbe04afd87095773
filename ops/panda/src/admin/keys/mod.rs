//! What an operator does with the keys of a deployment, in the user store of a cluster or beside a `panda serve` that runs.

mod api;
mod fleet;
mod signing;

use std::path::Path;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use panda_access::FleetSecret;
use panda_protocol::Time;
use panda_storage::UserStore;
use panda_storage::embedded::SqliteUsers;

use crate::cli::{ApiKeysCommand, FleetSecretCommand, SigningKeysCommand};
use crate::cluster::services;
use crate::config::Config;
use crate::serve::{SECRET_FILE, USERS_FILE};

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Command<'a> {
    /// `panda admin signing-keys`
    Signing(&'a SigningKeysCommand),
    /// `panda admin api-keys`
    Api(&'a ApiKeysCommand),
    /// `panda admin fleet-secret`
    Fleet(&'a FleetSecretCommand),
}

/// A user store, and the secret under which keys lie in it.
struct Deployment<'a, U> {
    users: U,
    fleet: FleetSecret,
    config: &'a Config,
}

/// Does it where the configuration says, or, where it names no Postgres, in the data folder.
///
/// # Errors
/// What is in the way, in a sentence. Postgres is waited for.
pub(super) async fn run(config: &Config, in_folder: bool, command: Command<'_>) -> anyhow::Result<()> {
    if in_folder || config.users.url.is_empty() {
        let (users, fleet) = (open_folder(&config.data)?, read_secret(&config.data)?);
        return Deployment { users, fleet, config }.act(command).await;
    }
    let fleet = config.shared_secret()?;
    Deployment { users: services::users(config).await?, fleet, config }.act(command).await
}

impl<U: UserStore> Deployment<'_, U> {
    async fn act(&self, command: Command<'_>) -> anyhow::Result<()> {
        match command {
            Command::Signing(SigningKeysCommand::Rotate(_)) => self.rotate_signing_keys().await,
            Command::Signing(SigningKeysCommand::List(_)) => self.list_signing_keys().await,
            Command::Fleet(FleetSecretCommand::Reseal(_)) => self.reseal_everything().await,
            Command::Api(ApiKeysCommand::Make(asked)) => self.make_api_key(asked).await,
            Command::Api(ApiKeysCommand::List(asked)) => self.list_api_keys(asked.json).await,
            Command::Api(ApiKeysCommand::Revoke(asked)) => self.revoke_api_key(asked.id).await,
        }
    }
}

/// The users of a data folder that a running `panda serve` may have locked: it reads what changes here.
fn open_folder(data: &Path) -> anyhow::Result<SqliteUsers> {
    let users = data.join(USERS_FILE);
    ensure!(
        users.is_file(),
        "{} holds no data of Panda: name the folder of 'panda serve' with --data, or the configuration of a cluster",
        data.display()
    );
    Ok(SqliteUsers::open_beside(&users)?)
}

fn read_secret(data: &Path) -> anyhow::Result<FleetSecret> {
    let path = data.join(SECRET_FILE);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read the fleet secret {}", path.display()))?;
    FleetSecret::parse(&text).with_context(|| format!("the fleet secret {}", path.display()))
}

/// A time as people of all zones read it: RFC 3339 in UTC, to the second.
fn shown(time: Time) -> String {
    let seconds = i64::try_from(time.0 / 1_000_000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        assert_eq!(shown(Time(1_800_000_000_999_999)), "2027-01-15T08:00:00Z");
        assert_eq!(shown(Time(u64::MAX)), "never");
    }

    #[test]
    fn a_folder_without_data_is_named_and_nothing_is_made_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let refused = open_folder(folder.path()).map(drop).unwrap_err().to_string();
        assert!(refused.contains("--data"), "{refused}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
