//! `panda admin signing-keys`: which keys sign access tokens, and the turn to a new one.

use anyhow::{Context as _, bail, ensure};
use panda_access::SigningKey;
use panda_storage::user_store::{KeyStage, SealedSigningKey, key_stages};
use panda_storage::{UserStore, UserStoreError};

use super::{Deployment, shown};
use crate::lifecycle::now;

impl<U: UserStore> Deployment<'_, U> {
    /// Publishes the key that signs next.
    ///
    /// # Errors
    /// A turn is under way, or too many keys are kept; a key that is in use does not open with this fleet secret, so the
    /// processes would not open one that is sealed under it.
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub(super) async fn rotate_signing_keys(&self) -> anyhow::Result<()> {
        let now = now();
        let stored = self.users.signing_keys().await?;
        ensure!(!stored.is_empty(), "there is no signing key: the first start of a process with an API makes it");
        for (key, stage) in stored.iter().zip(key_stages(&stored, now)) {
            if stage != KeyStage::Over {
                SigningKey::open(&self.fleet, &key.kid, &key.sealed).with_context(|| {
                    format!(
                        "signing key {} does not open with this fleet secret: give the one that the processes have",
                        key.kid
                    )
                })?;
            }
        }
        let made = SigningKey::generate()?;
        let kid = made.verifying_key().kid().to_owned();
        let next = SealedSigningKey::published(kid, made.seal(&self.fleet)?, now, self.config.api.token_lifetime());
        let (kid, signs_from) = (next.kid.clone(), next.signs_from);
        match self.users.turn_signing_keys(next, now).await {
            Ok(()) => {}
            Err(UserStoreError::KeysTurning { signs_from }) => bail!(
                "a turn is under way: the newest key signs from {} on; run this again then, if another key is wanted",
                shown(signs_from)
            ),
            Err(UserStoreError::TooMany(most)) => bail!(
                "{most} keys are kept already, because tokens that they signed are still good: 'panda admin signing-keys \
                 list' says until when"
            ),
            Err(error) => {
                return Err(error)
                    .context("publish the key; 'panda admin signing-keys list' says whether that happened");
            }
        }
        println!(
            "Signing key {kid} is published, and signs from {} on. Nothing has to be started again.",
            shown(signs_from)
        );
        println!("The key before it signs until then, and verifies until the last of its tokens is over.");
        Ok(())
    }

    /// Says of each key what it is good for.
    ///
    /// # Errors
    /// The user store failed.
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    pub(super) async fn list_signing_keys(&self) -> anyhow::Result<()> {
        let stored = self.users.signing_keys().await?;
        for (key, stage) in stored.iter().zip(key_stages(&stored, now())) {
            let opens = SigningKey::open(&self.fleet, &key.kid, &key.sealed).is_ok();
            let sealed = if opens { "" } else { "; does not open with this fleet secret" };
            println!("{}  made {}, {}{sealed}", key.kid, shown(key.created), told(key, stage));
        }
        Ok(())
    }
}

fn told(key: &SealedSigningKey, stage: KeyStage) -> String {
    match stage {
        KeyStage::Published => format!("published; signs from {} on", shown(key.signs_from)),
        KeyStage::Signing => "signs".to_owned(),
        KeyStage::Verifying { until } => format!("verifies until {}", shown(until)),
        KeyStage::Over => "is over".to_owned(),
    }
}
