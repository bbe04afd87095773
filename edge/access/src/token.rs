//! Access tokens: JWTs signed with Ed25519, by keys that name themselves.
//!
//! The algorithm is pinned and the key is chosen by its `kid` among those known here; nothing that a
//! token says lets anybody in before its signature is checked.

mod ed25519;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use panda_protocol::limits::TOKEN_BYTES_MAX;
use panda_protocol::{ErrorCode, LoginId, UserId};
use parking_lot::RwLock;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::{Deserialize, Serialize};

use self::ed25519::Verifier;
use crate::fleet_secret::{FleetSecret, Purpose};
use crate::seal::{SealError, Sealer};

/// By how many seconds the clocks of two machines of a deployment may differ.
pub const LEEWAY_S: u64 = 5;
/// Keys that are accepted at a time: the current one, and former ones whose tokens still live.
pub const KEYS_MAX: usize = 16;

/// Issuer and audience of every token.
const PANDA: &str = "panda";
/// Bytes of a key's name before it is written as text.
const KID_LEN: usize = 12;
/// What stands before the seed in the PKCS #8 form of an Ed25519 key (RFC 8410).
const PKCS8_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Whom a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The user.
    pub user: UserId,
    /// The login that it came of; none for one that a program with an API key was given.
    pub login: Option<LoginId>,
    /// Seconds since 1970 at which the token's time is over.
    pub expires_unix_s: u64,
}

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// Its time is over; log in again.
    #[error("the access token has expired")]
    Expired,
    /// Not a token of this deployment, changed, or not valid yet.
    #[error("the access token is not valid")]
    Invalid,
    /// Of a key that is not known here, where keys were not read for so long that it may be a new one.
    #[error("the access token may be of a key that could not be read yet")]
    KeysUnread,
}

impl AccessError {
    /// The code that tells a client.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Expired => ErrorCode::TokenExpired,
            Self::Invalid => ErrorCode::TokenInvalid,
            Self::KeysUnread => ErrorCode::Unavailable,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    sub: String,
    iat: u64,
    nbf: u64,
    exp: u64,
    /// The login: a session in the words of OpenID Connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sid: Option<String>,
}

/// The public half of a signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    kid: String,
    public: [u8; 32],
}

impl VerifyingKey {
    /// The key's name in a token's header.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The point, as RFC 8032 encodes it: what everybody may know.
    pub const fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

/// A key that signs tokens.
#[derive(Clone)]
pub struct SigningKey {
    seed: [u8; 32],
    public: VerifyingKey,
}

impl SigningKey {
    /// A new key.
    ///
    /// # Errors
    /// [`SealError::Random`] if the system has no random bytes.
    pub fn generate() -> Result<Self, SealError> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| SealError::Random)?;
        Self::from_seed(seed).ok_or(SealError::Invalid)
    }

    /// The key of these secret bytes (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).ok()?;
        let public: [u8; 32] = pair.public_key().as_ref().try_into().ok()?;
        let kid = URL_SAFE_NO_PAD.encode(&digest(&SHA256, &public).as_ref()[..KID_LEN]);
        Some(Self { seed, public: VerifyingKey { kid, public } })
    }

    /// The public half.
    pub const fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// The key's form at rest: of no use without the fleet secret.
    ///
    /// # Errors
    /// [`SealError::Random`] if the system has no random bytes.
    pub fn seal(&self, secret: &FleetSecret) -> Result<Vec<u8>, SealError> {
        Sealer::new(&secret.derive(Purpose::SigningKeys)).seal(&self.seed, self.public.kid.as_bytes())
    }

    /// Opens a key at rest.
    ///
    /// # Errors
    /// [`SealError::Invalid`] if it was sealed under another secret or another name, or changed.
    pub fn open(secret: &FleetSecret, kid: &str, sealed: &[u8]) -> Result<Self, SealError> {
        let seed = Sealer::new(&secret.derive(Purpose::SigningKeys)).open(sealed, kid.as_bytes())?;
        let seed = seed.try_into().map_err(|_| SealError::Invalid)?;
        Self::from_seed(seed).filter(|key| key.public.kid == kid).ok_or(SealError::Invalid)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, hidden)", self.public.kid)
    }
}

/// Signs access tokens with one key.
#[derive(Clone)]
pub struct Signer {
    kid: String,
    key: EncodingKey,
}

impl Signer {
    /// Signs with `key`.
    pub fn new(key: &SigningKey) -> Self {
        let der = [&PKCS8_PREFIX[..], &key.seed].concat();
        Self { kid: key.public.kid.clone(), key: EncodingKey::from_ed_der(&der) }
    }

    /// A token for `user` of no login, valid from `now_unix_s` on for `ttl_s` seconds.
    ///
    /// # Panics
    /// Never for a key that [`SigningKey`] made.
    pub fn sign(&self, user: UserId, now_unix_s: u64, ttl_s: u64) -> String {
        self.sign_for(user, None, now_unix_s, ttl_s)
    }

    /// The same of a login, with which it ends.
    ///
    /// # Panics
    /// As [`Self::sign`].
    pub fn sign_for(&self, user: UserId, login: Option<LoginId>, now_unix_s: u64, ttl_s: u64) -> String {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.kid.clone());
        let claims = Claims {
            iss: PANDA.into(),
            aud: PANDA.into(),
            sub: user.to_string(),
            iat: now_unix_s,
            nbf: now_unix_s,
            exp: now_unix_s.saturating_add(ttl_s),
            sid: login.map(|login| login.to_string()),
        };
        jsonwebtoken::encode(&header, &claims, &self.key)
            .expect("the key is a whole Ed25519 key and the claims are plain JSON")
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, hidden)", self.kid)
    }
}

/// The public keys whose tokens are accepted; clones share them.
#[derive(Clone)]
pub struct AccessKeys {
    keys: Arc<RwLock<Arc<HashMap<String, Verifier>>>>,
    /// Seconds since 1970 from when on a key that is not known may be a new one.
    whole_until_unix_s: Arc<AtomicU64>,
}

impl AccessKeys {
    /// Accepts tokens of the first [`KEYS_MAX`] of `keys`.
    pub fn new(keys: impl IntoIterator<Item = VerifyingKey>) -> Self {
        let keys = index(keys, &HashMap::new());
        Self { keys: Arc::new(RwLock::new(Arc::new(keys))), whole_until_unix_s: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    /// From now on accepts tokens of the first [`KEYS_MAX`] of these keys and of no others.
    pub fn replace(&self, keys: impl IntoIterator<Item = VerifyingKey>) {
        let known = Arc::clone(&self.keys.read());
        let keys = Arc::new(index(keys, &known));
        *self.keys.write() = keys;
    }

    /// Until then no other key signs: before, a token of one is [`AccessError::Invalid`], from then on
    /// [`AccessError::KeysUnread`]. Without this call it is for ever.
    pub fn are_whole_until(&self, unix_s: u64) {
        self.whole_until_unix_s.store(unix_s, Ordering::Relaxed);
    }

    /// Whom a token stands for.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Access, AccessError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AccessError::Invalid);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(AccessError::Invalid)?;
        let (header, claims) = message.split_once('.').ok_or(AccessError::Invalid)?;
        let header: Header = part(header)?;
        // `crit` names what a verifier must understand, and this one understands nothing more.
        if header.alg != Algorithm::EdDSA || header.crit.is_some() {
            return Err(AccessError::Invalid);
        }
        let kid = header.kid.ok_or(AccessError::Invalid)?;
        let keys = Arc::clone(&self.keys.read());
        let Some(key) = keys.get(&kid) else { return Err(self.of_no_known_key(claims, now_unix_s)) };
        if !key.verifies(message.as_bytes(), &decoded(signature)?) {
            return Err(AccessError::Invalid);
        }
        let claims: Claims = part(claims)?;
        if claims.iss != PANDA || claims.aud != PANDA {
            return Err(AccessError::Invalid);
        }
        if now_unix_s.saturating_add(LEEWAY_S) < claims.nbf {
            return Err(AccessError::Invalid);
        }
        if now_unix_s >= claims.exp.saturating_add(LEEWAY_S) {
            return Err(AccessError::Expired);
        }
        let user = claims.sub.parse().map_err(|_| AccessError::Invalid)?;
        let login = claims.sid.map(|login| login.parse().map_err(|_| AccessError::Invalid)).transpose()?;
        Ok(Access { user, login, expires_unix_s: claims.exp })
    }
}

impl AccessKeys {
    /// What is said of a token that nobody here can check. It lets nobody in; but one that says itself that its time is over
    /// may be of a key that was deleted since, and its client should refresh it, not give up.
    fn of_no_known_key(&self, claims: &str, now_unix_s: u64) -> AccessError {
        match part::<Claims>(claims) {
            Ok(claims) if now_unix_s >= claims.exp.saturating_add(LEEWAY_S) => AccessError::Expired,
            _ if now_unix_s < self.whole_until_unix_s.load(Ordering::Relaxed) => AccessError::Invalid,
            _ => AccessError::KeysUnread,
        }
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.read().keys()).finish()
    }
}

/// Verifiers of these keys; those that are `known` need not be made again.
fn index(keys: impl IntoIterator<Item = VerifyingKey>, known: &HashMap<String, Verifier>) -> HashMap<String, Verifier> {
    let verifier = |VerifyingKey { kid, public }| {
        let verifier = match known.get(&kid) {
            Some(known) if known.is_of(&public) => Some(known.clone()),
            _ => Verifier::new(public),
        };
        if verifier.is_none() {
            tracing::error!(kid, "a key of access tokens is unusable: whoever has a token of it must log in again");
        }
        Some((kid, verifier?))
    };
    keys.into_iter().take(KEYS_MAX).filter_map(verifier).collect()
}

/// A part of a token: JSON in base64, without padding and in the one form that it has.
fn part<T: for<'d> Deserialize<'d>>(text: &str) -> Result<T, AccessError> {
    serde_json::from_slice(&decoded(text)?).map_err(|_| AccessError::Invalid)
}

fn decoded(text: &str) -> Result<Vec<u8>, AccessError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| AccessError::Invalid)
}

#[cfg(test)]
mod tests;
