//! The one secret that every process of a deployment shares, and the keys derived from it.

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use panda_protocol::link::LinkKey;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

/// Bytes of a fleet secret and of every key derived from it.
pub(crate) const SECRET_LEN: usize = 32;

/// The largest file that is read as a fleet secret.
const FILE_BYTES_MAX: u64 = 1024;

/// What a derived key is for. Two purposes never share a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Resume tickets.
    Ticket,
    /// Membership proofs.
    Proof,
    /// Signing keys at rest.
    SigningKeys,
    /// Refresh tokens.
    RefreshToken,
    /// What a login at a provider carries through a browser.
    ProviderLogin,
    /// TLS session tickets.
    TlsTicket,
    /// QUIC address validation tokens.
    QuicToken,
    /// QUIC stateless resets.
    QuicReset,
    /// QUIC connection IDs.
    QuicConnectionId,
    /// Opening links between edges and routers.
    Link,
}

impl Purpose {
    /// Part of what is derived, so it never changes.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Ticket => b"panda resume ticket 1",
            Self::Proof => b"panda membership proof 1",
            Self::SigningKeys => b"panda signing keys 1",
            Self::RefreshToken => b"panda refresh token 1",
            Self::ProviderLogin => b"panda provider login 1",
            Self::TlsTicket => b"panda tls ticket 1",
            Self::QuicToken => b"panda quic token 1",
            Self::QuicReset => b"panda quic reset 1",
            Self::QuicConnectionId => b"panda quic connection id 1",
            Self::Link => b"panda link key 1",
        }
    }
}

/// Why there is no fleet secret.
#[derive(Debug, thiserror::Error)]
pub enum FleetSecretError {
    /// The file could not be read or made.
    #[error("the fleet secret in {path} cannot be read or made: {error}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is not what it should be.
    #[error("a fleet secret is 64 hexadecimal digits; a second line may hold the previous one")]
    Format,
    /// The system gave no random bytes.
    #[error("the system has no random bytes")]
    Random,
}

/// The secret that all edges and APIs of a deployment share.
///
/// While it is being replaced, the previous one still opens what it sealed; only the current one seals.
#[derive(Clone)]
pub struct FleetSecret {
    current: [u8; SECRET_LEN],
    previous: Option<[u8; SECRET_LEN]>,
}

/// The keys of one purpose.
#[derive(Clone)]
pub struct DerivedKeys {
    /// Seals and opens.
    pub current: [u8; SECRET_LEN],
    /// Opens only.
    pub previous: Option<[u8; SECRET_LEN]>,
}

impl FleetSecret {
    /// A new one.
    ///
    /// # Errors
    /// [`FleetSecretError::Random`].
    pub fn generate() -> Result<Self, FleetSecretError> {
        let mut current = [0; SECRET_LEN];
        SystemRandom::new().fill(&mut current).map_err(|_| FleetSecretError::Random)?;
        Ok(Self { current, previous: None })
    }

    /// Reads the text form: the current secret, and in a second line the previous one if there is one.
    ///
    /// # Errors
    /// [`FleetSecretError::Format`].
    pub fn parse(text: &str) -> Result<Self, FleetSecretError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let current = lines.next().and_then(decode_hex).ok_or(FleetSecretError::Format)?;
        let previous = match lines.next() {
            Some(line) => Some(decode_hex(line).ok_or(FleetSecretError::Format)?),
            None => None,
        };
        if lines.next().is_some() {
            return Err(FleetSecretError::Format);
        }
        Ok(Self { current, previous })
    }

    /// Reads the file, or makes it with a new secret, readable by its owner only, and synced before
    /// it is used: what was sealed with a secret must be opened after a loss of power.
    ///
    /// # Errors
    /// [`FleetSecretError`]. A file that is there is never written.
    pub fn load_or_create(path: &Path) -> Result<Self, FleetSecretError> {
        let failed = |error| FleetSecretError::Io { path: path.display().to_string(), error };
        match fs::metadata(path) {
            Ok(found) if found.len() > FILE_BYTES_MAX => return Err(FleetSecretError::Format),
            Ok(_) => return Self::parse(&fs::read_to_string(path).map_err(failed)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let secret = Self::generate()?;
        // Written beside and renamed: a crash leaves a whole secret or none, never an empty file
        // that the next start refuses.
        let partial = path.with_extension("partial");
        match fs::remove_file(&partial) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(failed)?;
        writeln!(file, "{}", encode_hex(&secret.current)).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        fs::rename(&partial, path).map_err(failed)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        }
        Ok(secret)
    }

    /// This secret with `previous` beside it, for what that one sealed.
    #[must_use]
    pub const fn with_previous(mut self, previous: &Self) -> Self {
        self.previous = Some(previous.current);
        self
    }

    /// This secret alone, which opens nothing that the previous one sealed.
    #[must_use]
    pub const fn without_previous(&self) -> Self {
        Self { current: self.current, previous: None }
    }

    /// The keys of one purpose.
    pub fn derive(&self, purpose: Purpose) -> DerivedKeys {
        DerivedKeys {
            current: derive_from(&self.current, purpose),
            previous: self.previous.as_ref().map(|secret| derive_from(secret, purpose)),
        }
    }

    /// The deployment's link keys, the current one first. An edge opens its links with the first; a router
    /// takes any of them, so that a secret can be replaced while both are in use.
    pub fn link_keys(&self) -> Vec<LinkKey> {
        let DerivedKeys { current, previous } = self.derive(Purpose::Link);
        std::iter::once(current).chain(previous).map(LinkKey).collect()
    }
}

impl fmt::Debug for FleetSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetSecret(hidden)")
    }
}

impl fmt::Debug for DerivedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DerivedKeys(hidden)")
    }
}

/// The length that HKDF is asked for.
struct KeyLen;

impl KeyType for KeyLen {
    fn len(&self) -> usize {
        SECRET_LEN
    }
}

fn derive_from(secret: &[u8; SECRET_LEN], purpose: Purpose) -> [u8; SECRET_LEN] {
    expand(&Salt::new(HKDF_SHA256, b"panda fleet secret").extract(secret), &[purpose.label()])
}

/// The key that `prk` gives for `info`.
pub(crate) fn expand(prk: &Prk, info: &[&[u8]]) -> [u8; SECRET_LEN] {
    let mut key = [0; SECRET_LEN];
    prk.expand(info, KeyLen)
        .and_then(|derived| derived.fill(&mut key))
        .expect("one block of HKDF is 32 bytes, which is what is asked for");
    key
}

fn encode_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(u32::from(digit), 16))
        .collect()
}

fn decode_hex(text: &str) -> Option<[u8; SECRET_LEN]> {
    let text = text.as_bytes();
    if text.len() != SECRET_LEN * 2 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut secret = [0; SECRET_LEN];
    for (slot, pair) in secret.iter_mut().zip(text.chunks_exact(2)) {
        *slot = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.secret");
        let made = FleetSecret::load_or_create(&path).unwrap();
        let read = FleetSecret::load_or_create(&path).unwrap();
        assert_eq!(made.current, read.current);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no partial file is left");
    }

    #[test]
    fn the_second_line_is_the_previous_secret() {
        let (one, other) = ("11".repeat(32), "Ab".repeat(32));
        let both = FleetSecret::parse(&format!("{one}\n{other}\n")).unwrap();
        assert_eq!(both.current, [0x11; 32]);
        assert_eq!(both.previous, Some([0xab; 32]));
        assert_eq!((both.without_previous().current, both.without_previous().previous), ([0x11; 32], None));
        assert_eq!(FleetSecret::parse(&one).unwrap().previous, None);
    }

    #[test]
    fn what_is_no_secret_is_refused_and_the_file_is_kept() {
        for text in
            ["", "11", &"1g".repeat(32), &"11".repeat(33), &format!("{0}\n{0}\n{0}", "11".repeat(32)), &"é".repeat(32)]
        {
            assert!(matches!(FleetSecret::parse(text), Err(FleetSecretError::Format)), "{text:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.secret");
        fs::write(&path, "x".repeat(2000)).unwrap();
        assert!(matches!(FleetSecret::load_or_create(&path), Err(FleetSecretError::Format)));
        assert_eq!(fs::read(&path).unwrap().len(), 2000);
    }

    #[test]
    fn purposes_and_secrets_do_not_share_keys() {
        let secret = FleetSecret::parse(&"11".repeat(32)).unwrap();
        let other = FleetSecret::parse(&"12".repeat(32)).unwrap();
        let keys = [
            secret.derive(Purpose::Ticket).current,
            secret.derive(Purpose::Proof).current,
            secret.derive(Purpose::SigningKeys).current,
            secret.derive(Purpose::RefreshToken).current,
            secret.derive(Purpose::ProviderLogin).current,
            other.derive(Purpose::Ticket).current,
        ];
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key));
        }
    }

    #[test]
    fn a_replaced_secret_still_opens_links() {
        let old = FleetSecret::parse(&"11".repeat(32)).unwrap();
        let new = FleetSecret::parse(&"12".repeat(32)).unwrap().with_previous(&old);
        let keys = |secret: &FleetSecret| secret.link_keys().into_iter().map(|key| key.0).collect::<Vec<_>>();
        assert_eq!(keys(&old).len(), 1);
        assert_eq!(keys(&new).len(), 2);
        assert_eq!(keys(&new)[1], keys(&old)[0]);
        assert_ne!(keys(&new)[0], keys(&old)[0]);
    }

    #[test]
    fn no_secret_is_shown() {
        let secret = FleetSecret::parse(&"11".repeat(32)).unwrap();
        assert_eq!(
            format!("{secret:?} {:?}", secret.derive(Purpose::Ticket)),
            "FleetSecret(hidden) DerivedKeys(hidden)"
        );
    }
}
