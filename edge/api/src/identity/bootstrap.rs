//! The first start: a signing key, and an API key for whoever runs the server.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use panda_access::{FleetSecret, FlowSealer, RefreshTokens, SealError, SigningKey};
use panda_protocol::Time;
use panda_storage::user_store::{ApiKey, ApiKeyDigest, ApiKeyLabel, Scopes, SealedSigningKey};
use panda_storage::{StoreError, UserStore, UserStoreError};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::ended::EndedLogins;
use super::keys::SigningKeys;

/// What every API key begins with, so that one which leaks is found by a search for it.
pub(crate) const API_KEY_PREFIX: &str = "panda_";
/// The largest file that is read as a key.
const KEY_FILE_BYTES_MAX: u64 = 1_024;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The user store failed.
    #[error("the keys cannot be read or stored: {0}")]
    Store(#[from] UserStoreError),
    /// The stored key that signs now does not open with this fleet secret.
    #[error(
        "the signing key does not open with this fleet secret: give the one that this data was made with, as the current or the previous one"
    )]
    FleetSecret,
    /// A key could not be made.
    #[error("a key cannot be made: {0}")]
    Make(#[from] SealError),
    /// The admin key's file could not be read or written.
    #[error("the admin key's file {path} cannot be read or written: {error}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// The keys that a process starts with, and which logins have none any more.
#[derive(Debug)]
pub struct Bootstrap {
    /// Sign new tokens, and say whose are accepted.
    pub keys: SigningKeys,
    /// Knows refresh tokens.
    pub refresh_tokens: RefreshTokens,
    /// Seals what logins at other providers carry.
    pub flows: FlowSealer,
    /// The logins that were ended so far.
    pub ended: EndedLogins,
    /// Whether the admin key was made now.
    pub admin_key_made: bool,
}

/// Reads the signing keys, and at the first start makes one and the first API key, whose text is in
/// `admin_key_path`, readable by its owner only. Tokens of this process last `token_lifetime`. Every step may be cut short
/// and repeated.
///
/// # Errors
/// [`BootstrapError`].
pub async fn bootstrap<U: UserStore>(
    users: &U,
    secret: &FleetSecret,
    admin_key_path: &Path,
    token_lifetime: Duration,
    now: Time,
) -> Result<Bootstrap, BootstrapError> {
    let admin_key_made = ensure_admin_key(users, admin_key_path, now).await?;
    if users.signing_keys().await?.is_empty() {
        let made = SigningKey::generate()?;
        let kid = made.verifying_key().kid().to_owned();
        let key = SealedSigningKey {
            longest_token: token_lifetime,
            ..SealedSigningKey::at_once(kid, made.seal(secret)?, now)
        };
        // Another process may be first: its key is everybody's then.
        users.add_first_signing_key(key).await?;
    }
    let keys = SigningKeys::new(secret.clone(), token_lifetime);
    keys.read(users, now).await?;
    keys.signing(now).map_err(|_| BootstrapError::FleetSecret)?;
    // Before anybody is let in: whoever was logged out stays out.
    let mut ended = EndedLogins::default();
    ended.read_on(users).await?;
    let (refresh_tokens, flows) = (RefreshTokens::new(secret), FlowSealer::new(secret));
    Ok(Bootstrap { keys, refresh_tokens, flows, ended, admin_key_made })
}

async fn ensure_admin_key<U: UserStore>(users: &U, path: &Path, now: Time) -> Result<bool, BootstrapError> {
    if users.api_key_count().await? > 0 {
        return Ok(false);
    }
    let failed = |error| BootstrapError::File { path: path.display().to_string(), error };
    // The file comes first: after a crash in between, the next start stores what it says.
    let text = match read_key(path).map_err(failed)? {
        Some(text) => text,
        None => write_key(path).map_err(failed)?,
    };
    let label = ApiKeyLabel::parse("admin").map_err(|error| failed(io::Error::other(error)))?;
    let key = ApiKey::new(api_key_digest(&text), label, Scopes::PROVISION, now);
    users.add_api_key(key).await?;
    Ok(true)
}

/// What an API key is found by.
pub fn api_key_digest(text: &str) -> ApiKeyDigest {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    found
}

fn read_key(path: &Path) -> io::Result<Option<String>> {
    match fs::metadata(path) {
        Ok(found) if found.len() <= KEY_FILE_BYTES_MAX => {}
        Ok(_) => return Err(io::Error::other("it is too large to be a key")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let text = fs::read_to_string(path)?.trim().to_owned();
    // A short text would be a key that is guessed.
    let whole = text.strip_prefix(API_KEY_PREFIX).is_some_and(|secret| secret.len() >= 43);
    if whole { Ok(Some(text)) } else { Err(io::Error::other("it holds no API key; move it away and start again")) }
}

/// The text of a new API key: 256 random bits.
///
/// # Errors
/// The system has no random bytes.
pub fn new_api_key() -> io::Result<String> {
    let mut secret = [0; 32];
    SystemRandom::new().fill(&mut secret).map_err(|_| io::Error::other("the system has no random bytes"))?;
    let hex = secret
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16));
    Ok(format!("{API_KEY_PREFIX}{}", hex.collect::<String>()))
}

fn write_key(path: &Path) -> io::Result<String> {
    let text = new_api_key()?;
    // Processes that start together share the file: each has a partial one, and the first to be whole counts.
    let partial = path.with_extension(format!("key.partial-{}", std::process::id()));
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    let linked = fs::hard_link(&partial, path);
    fs::remove_file(&partial)?;
    // Whoever was faster may not have done so yet.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder)?.sync_all()?;
    }
    match linked {
        Ok(()) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            read_key(path)?.ok_or_else(|| io::Error::other("it was taken away at once"))
        }
        Err(error) => Err(error),
    }
}

impl From<StoreError> for BootstrapError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use panda_protocol::UserId;
    use panda_storage::embedded::SqliteUsers;

    use super::*;

    const NOW: Time = Time(1_800_000_000_000_000);
    const DAY: Duration = Duration::from_secs(86_400);

    fn store(folder: &Path) -> SqliteUsers {
        SqliteUsers::open(&folder.join("users.sqlite"), NOW).unwrap()
    }

    #[tokio::test]
    async fn the_first_start_makes_the_keys_and_the_second_finds_them() {
        let folder = tempfile::tempdir().unwrap();
        let (users, path) = (store(folder.path()), folder.path().join("admin.key"));
        let secret = FleetSecret::generate().unwrap();
        let first = bootstrap(&users, &secret, &path, DAY, NOW).await.unwrap();
        assert!(first.admin_key_made);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(users.api_key(api_key_digest(text.trim())).await.unwrap().is_some());
        let second = bootstrap(&users, &secret, &path, DAY, NOW).await.unwrap();
        assert!(!second.admin_key_made);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        let token = first.keys.signing(NOW).unwrap().sign(UserId::from_random([1; 16]), 1_800_000_000, 60);
        assert!(second.keys.accepted().verify(&token, 1_800_000_000).is_ok());
    }

    #[tokio::test]
    async fn a_start_cut_short_behind_the_file_stores_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let (users, path) = (store(folder.path()), folder.path().join("admin.key"));
        let text = write_key(&path).unwrap();
        bootstrap(&users, &FleetSecret::generate().unwrap(), &path, DAY, NOW).await.unwrap();
        assert!(users.api_key(api_key_digest(&text)).await.unwrap().is_some());
    }

    #[test]
    fn who_is_slower_at_the_first_start_takes_the_key_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.key");
        let faster = write_key(&path).unwrap();
        assert_eq!(write_key(&path).unwrap(), faster);
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(left, [path]);
    }

    #[tokio::test]
    async fn another_fleet_secret_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let (users, path) = (store(folder.path()), folder.path().join("admin.key"));
        let secret = FleetSecret::generate().unwrap();
        bootstrap(&users, &secret, &path, DAY, NOW).await.unwrap();
        let other = FleetSecret::generate().unwrap();
        assert!(matches!(bootstrap(&users, &other, &path, DAY, NOW).await, Err(BootstrapError::FleetSecret)));
        assert!(bootstrap(&users, &other.with_previous(&secret), &path, DAY, NOW).await.is_ok());
    }

    #[tokio::test]
    async fn a_file_that_holds_no_key_is_not_taken_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let (users, path) = (store(folder.path()), folder.path().join("admin.key"));
        for text in ["", "1234", "panda_1234"] {
            fs::write(&path, text).unwrap();
            let refused = bootstrap(&users, &FleetSecret::generate().unwrap(), &path, DAY, NOW).await;
            assert!(matches!(refused, Err(BootstrapError::File { .. })), "{text:?}");
            assert_eq!(users.api_key_count().await.unwrap(), 0);
        }
    }
}
