//! The deployment's signing keys as this process knows them: which signs now, and whose tokens are accepted.
//!
//! Keys are rows of the user store, and every process reads them again and again. A new one signs
//! [`SIGNING_KEY_LEAD`] after it was published, and nobody signs by what it
//! read longer ago than [`SIGNED_BY_MAX`]: so whoever signs knows of a turn before it happens, and whoever verifies has read
//! the key before the first token of it is there.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use panda_access::{AccessKeys, FleetSecret, Signer, SigningKey, VerifyingKey};
use panda_protocol::Time;
use panda_storage::user_store::{KeyStage, SIGNING_KEY_LEAD, SealedSigningKey, key_stages};
use panda_storage::{StoreError, UserStore, UserStoreError};
use parking_lot::RwLock;
use tokio::time::sleep;

/// Tokens are signed by keys that were read at most so long ago.
const SIGNED_BY_MAX: Duration = Duration::from_secs(30);
/// A process that has not read the keys for so long takes a key that it does not know for a new one.
const KNOWN_FOR: Duration = Duration::from_secs(240);

const _: () = assert!(
    SIGNED_BY_MAX.as_secs() < KNOWN_FOR.as_secs() && KNOWN_FOR.as_secs() < SIGNING_KEY_LEAD.as_secs(),
    "clocks may differ by what is between them"
);

/// Why nothing is signed now.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The keys could not be read.
    #[error(transparent)]
    Store(#[from] UserStoreError),
    /// The key that signs now does not open.
    #[error("the signing key {0} does not open with this process's fleet secret")]
    FleetSecret(String),
}

/// The keys; clones share them.
#[derive(Clone)]
pub struct SigningKeys {
    shared: Arc<Shared>,
}

struct Shared {
    secret: FleetSecret,
    /// Of the tokens that this process gives out.
    token_lifetime: Duration,
    accepted: AccessKeys,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// Newest first.
    keys: Vec<Key>,
    read: Time,
}

#[derive(Clone)]
struct Key {
    stored: SealedSigningKey,
    /// None: it is sealed under another fleet secret.
    opened: Option<Opened>,
}

#[derive(Clone)]
struct Opened {
    signer: Signer,
    public: VerifyingKey,
}

impl SigningKeys {
    pub(crate) fn new(secret: FleetSecret, token_lifetime: Duration) -> Self {
        let (accepted, known) = (AccessKeys::new([]), RwLock::default());
        Self { shared: Arc::new(Shared { secret, token_lifetime, accepted, known }) }
    }

    /// For those who verify tokens.
    pub fn accepted(&self) -> &AccessKeys {
        &self.shared.accepted
    }

    /// The public halves of all keys whose tokens may come, those that do not sign yet too; the newest first.
    pub(crate) fn public(&self, now: Time) -> Vec<VerifyingKey> {
        let known = self.shared.known.read();
        good(&known.keys, now).filter_map(|key| Some(key.opened.as_ref()?.public.clone())).collect()
    }

    /// What signs now, by keys that were read a moment ago.
    ///
    /// # Errors
    /// [`SigningError`].
    pub(crate) async fn signer<U: UserStore>(&self, users: &U, now: Time) -> Result<Signer, SigningError> {
        let read = self.shared.known.read().read;
        // A clock that went back says nothing of how long that is.
        if now < read || now >= later(read, SIGNED_BY_MAX) {
            self.read(users, now).await?;
        }
        self.signing(now)
    }

    /// What signs now, by keys as they were read last.
    ///
    /// # Errors
    /// [`SigningError::FleetSecret`].
    pub fn signing(&self, now: Time) -> Result<Signer, SigningError> {
        let known = self.shared.known.read();
        let signing = key_stages(&stored(&known.keys), now).iter().position(|stage| *stage == KeyStage::Signing);
        let key = signing.and_then(|place| known.keys.get(place));
        let named = || key.map_or_else(String::new, |key| key.stored.kid.clone());
        let opened = key.and_then(|key| key.opened.as_ref()).ok_or_else(|| SigningError::FleetSecret(named()))?;
        Ok(opened.signer.clone())
    }

    /// Reads them.
    ///
    /// # Errors
    /// The store failed, or has none: what is known stays.
    pub(crate) async fn read<U: UserStore>(&self, users: &U, now: Time) -> Result<(), UserStoreError> {
        let stored = users.signing_keys().await?;
        if stored.is_empty() {
            return Err(StoreError::Corrupt("there is no signing key any more".into()).into());
        }
        // Before this process signs with them.
        let lifetime = self.shared.token_lifetime;
        let may_sign = |stage: &KeyStage| matches!(stage, KeyStage::Signing | KeyStage::Published);
        let short = key_stages(&stored, now).into_iter().zip(&stored);
        let short: Vec<_> = short
            .filter(|(stage, key)| may_sign(stage) && key.longest_token < lifetime)
            .map(|(_, key)| key.kid.clone())
            .collect();
        if !short.is_empty() {
            users.lengthen_signing_keys(short, lifetime).await?;
        }
        self.take(stored, now);
        Ok(())
    }

    fn take(&self, stored: Vec<SealedSigningKey>, now: Time) {
        let mut known = self.shared.known.write();
        let keys: Vec<_> = stored.into_iter().map(|stored| self.key(&known.keys, stored)).collect();
        let names = |keys: &[Key]| {
            good(keys, now).filter(|key| key.opened.is_some()).map(|key| key.stored.kid.clone()).collect::<Vec<_>>()
        };
        let accepted = good(&keys, now).filter_map(|key| Some(key.opened.as_ref()?.public.clone()));
        self.shared.accepted.replace(accepted);
        self.shared.accepted.are_whole_until(later(now, KNOWN_FOR).0 / 1_000_000);
        if names(&keys) != names(&known.keys) && !known.keys.is_empty() {
            tracing::info!(keys = ?names(&keys), "the keys of access tokens have changed");
        }
        *known = Known { keys, read: now };
    }

    fn key(&self, known: &[Key], stored: SealedSigningKey) -> Key {
        let same = known.iter().find(|key| key.stored.kid == stored.kid);
        if let Some(same) = same.filter(|same| same.opened.is_some() || same.stored.sealed == stored.sealed) {
            return Key { stored, opened: same.opened.clone() };
        }
        let opened = SigningKey::open(&self.shared.secret, &stored.kid, &stored.sealed)
            .inspect_err(|error| {
                let kid = &stored.kid;
                tracing::error!(kid, %error, "a signing key is not opened: tokens of it let nobody in here");
            })
            .ok()
            .map(|key| Opened { signer: Signer::new(&key), public: key.verifying_key().clone() });
        Key { stored, opened }
    }
}

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKeys({:?}, hidden)", self.shared.accepted)
    }
}

/// Those that are not over.
fn good(keys: &[Key], now: Time) -> impl Iterator<Item = &Key> {
    key_stages(&stored(keys), now)
        .into_iter()
        .zip(keys)
        .filter(|(stage, _)| *stage != KeyStage::Over)
        .map(|(_, key)| key)
}

fn stored(keys: &[Key]) -> Vec<SealedSigningKey> {
    keys.iter().map(|key| key.stored.clone()).collect()
}

fn later(time: Time, long: Duration) -> Time {
    Time(time.0.saturating_add(u64::try_from(long.as_micros()).unwrap_or(u64::MAX)))
}

/// Reads them for ever, and deletes those that are over. While the store is away, what is known stays.
pub(crate) async fn follow_keys<U: UserStore>(
    keys: SigningKeys,
    users: U,
    every: Duration,
    clock: fn() -> Time,
) -> Infallible {
    let mut is_away = false;
    loop {
        sleep(every).await;
        let now = clock();
        let followed = async {
            keys.read(&users, now).await?;
            let over = {
                let known = keys.shared.known.read();
                key_stages(&stored(&known.keys), now).contains(&KeyStage::Over)
            };
            if over {
                let forgotten = users.forget_signing_keys(now).await?;
                tracing::info!(?forgotten, "signing keys whose tokens are over were deleted");
            }
            Ok::<_, UserStoreError>(())
        };
        match followed.await {
            Ok(()) if is_away => {
                is_away = false;
                tracing::info!("signing keys are read again");
            }
            Ok(()) => {}
            Err(error) if is_away => tracing::debug!(%error, "signing keys cannot be read yet"),
            Err(error) => {
                is_away = true;
                tracing::warn!(%error, "signing keys cannot be read: those that are known stay");
            }
        }
    }
}
