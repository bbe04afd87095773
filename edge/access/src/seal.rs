//! Authenticated encryption of small things under a derived key.
//!
//! Every sealing takes 16 random bytes from which a key for this one sealing is derived, so there is
//! no nonce to repeat: a deployment may seal as often as it likes under one secret.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom, SystemRandom};

use crate::fleet_secret::{DerivedKeys, expand};

const SALT_LEN: usize = 16;
const TAG_LEN: usize = 16;

/// The version of the sealed form: version, salt, ciphertext, tag.
const VERSION: u8 = 1;

/// What sealing adds to the bytes sealed.
pub(crate) const OVERHEAD: usize = 1 + SALT_LEN + TAG_LEN;

/// Why something was not sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system gave no random bytes.
    #[error("the system has no random bytes")]
    Random,
    /// Not sealed by this deployment, or changed since.
    #[error("the sealed bytes are not this deployment's, or were changed")]
    Invalid,
}

/// Seals and opens for one purpose.
#[derive(Clone)]
pub(crate) struct Sealer {
    current: Prk,
    previous: Option<Prk>,
}

impl Sealer {
    pub(crate) fn new(keys: &DerivedKeys) -> Self {
        let prk = |key: &[u8; 32]| Prk::new_less_safe(HKDF_SHA256, key);
        Self { current: prk(&keys.current), previous: keys.previous.as_ref().map(prk) }
    }

    /// Seals `plain`; `context` is needed again to open it.
    pub(crate) fn seal(&self, plain: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut salt = [0; SALT_LEN];
        SystemRandom::new().fill(&mut salt).map_err(|_| SealError::Random)?;
        let mut body = plain.to_vec();
        key_for(&self.current, &salt)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), Aad::from(context), &mut body)
            .map_err(|_| SealError::Invalid)?;
        let mut sealed = Vec::with_capacity(plain.len() + OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Opens what this deployment sealed under its current or previous secret.
    pub(crate) fn open(&self, sealed: &[u8], context: &[u8]) -> Result<Vec<u8>, SealError> {
        let (&version, rest) = sealed.split_first().ok_or(SealError::Invalid)?;
        let (salt, body) = rest.split_first_chunk::<SALT_LEN>().ok_or(SealError::Invalid)?;
        if version != VERSION {
            return Err(SealError::Invalid);
        }
        for prk in std::iter::once(&self.current).chain(&self.previous) {
            let mut plain = body.to_vec();
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            if let Ok(opened) = key_for(prk, salt)?.open_in_place(nonce, Aad::from(context), &mut plain) {
                let len = opened.len();
                plain.truncate(len);
                return Ok(plain);
            }
        }
        Err(SealError::Invalid)
    }
}

fn key_for(prk: &Prk, salt: &[u8; SALT_LEN]) -> Result<LessSafeKey, SealError> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, &expand(prk, &[salt])).map_err(|_| SealError::Invalid)?;
    Ok(LessSafeKey::new(key))
}
