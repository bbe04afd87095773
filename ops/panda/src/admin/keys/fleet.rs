//! `panda admin fleet-secret`: the last step of its replacement.

use anyhow::{Context as _, ensure};
use panda_access::SigningKey;
use panda_storage::UserStore;

use super::Deployment;

/// What became of the keys.
#[derive(Debug, PartialEq, Eq)]
struct Resealed {
    /// Sealed under the current secret now.
    anew: usize,
    /// So before.
    before: usize,
}

impl<U: UserStore> Deployment<'_, U> {
    /// Seals everything that is stored under the current secret, and says when the previous one may go.
    ///
    /// # Errors
    /// A key opens with neither secret; the user store failed. It may be run again.
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub(super) async fn reseal_everything(&self) -> anyhow::Result<()> {
        let Resealed { anew, before } = self.reseal().await?;
        println!("{anew} signing keys were sealed anew, {before} lay under the current fleet secret already.");
        println!(
            "Refresh tokens that were given out under the previous one open with it alone: keep the second line for {} hours \
             since every process has the present first line, so that nobody is logged out.",
            self.config.api.login_idle_s.div_ceil(3_600)
        );
        Ok(())
    }

    async fn reseal(&self) -> anyhow::Result<Resealed> {
        let current = self.fleet.without_previous();
        let (mut resealed, mut foreign) = (Resealed { anew: 0, before: 0 }, Vec::new());
        for key in self.users.signing_keys().await? {
            if SigningKey::open(&current, &key.kid, &key.sealed).is_ok() {
                resealed.before += 1;
                continue;
            }
            let Ok(opened) = SigningKey::open(&self.fleet, &key.kid, &key.sealed) else {
                foreign.push(key.kid);
                continue;
            };
            let sealed = opened.seal(&current)?;
            // Otherwise it is gone, or somebody else did the same.
            if self.users.reseal_signing_key(key.kid, key.sealed, sealed).await.context("store a key")? {
                resealed.anew += 1;
            }
        }
        ensure!(
            foreign.is_empty(),
            "signing keys {} open with neither line of this fleet secret: put the one that they were sealed under into the \
             second line, and run this again",
            foreign.join(", ")
        );
        Ok(resealed)
    }
}

#[cfg(test)]
mod tests {
    use panda_access::FleetSecret;
    use panda_protocol::Time;
    use panda_storage::embedded::SqliteUsers;
    use panda_storage::user_store::SealedSigningKey;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn keys_open_without_the_previous_secret_once_they_are_sealed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let users = SqliteUsers::open(&folder.path().join("users.db"), Time(1)).unwrap();
        let [old, new, other] = [(); 3].map(|()| FleetSecret::generate().unwrap());
        let key = SigningKey::generate().unwrap();
        let kid = key.verifying_key().kid().to_owned();
        users.add_signing_key(SealedSigningKey::at_once(kid.clone(), key.seal(&old).unwrap(), Time(1))).await.unwrap();
        let config = Config::default();
        let with = |fleet: FleetSecret| Deployment { users: users.clone(), fleet, config: &config };
        let refused = with(other).reseal().await.unwrap_err().to_string();
        assert!(refused.contains(&kid) && refused.contains("second line"), "{refused}");
        let both = new.clone().with_previous(&old);
        assert_eq!(with(both.clone()).reseal().await.unwrap(), Resealed { anew: 1, before: 0 });
        assert_eq!(with(both).reseal().await.unwrap(), Resealed { anew: 0, before: 1 });
        let stored = users.signing_keys().await.unwrap().remove(0);
        assert!(SigningKey::open(&new, &kid, &stored.sealed).is_ok());
        assert!(SigningKey::open(&old, &kid, &stored.sealed).is_err());
    }
}
