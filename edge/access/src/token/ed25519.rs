//! Ed25519 (RFC 8032, section 5.1.7) under a few keys that verify every token.
//!
//! A library that meets a key for the first time doubles a point 256 times. Here multiples of each key are made
//! once, as they are of the curve's own base point, and both products of the equation are sums of 64 of them.

use std::fmt;

use curve25519_dalek::constants::ED25519_BASEPOINT_TABLE;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsBasepointTable};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::BasepointTable as _;
use ring::digest::{Context, SHA512};

/// Bytes of a signature: the point R and the scalar S.
const SIGNATURE_LEN: usize = 64;

/// Checks signatures of one key. It takes 30 KiB.
#[derive(Clone)]
pub(super) struct Verifier {
    public: [u8; 32],
    /// Multiples of the key's point, negated.
    minus: Box<EdwardsBasepointTable>,
}

impl Verifier {
    /// `None` for what is no point of the curve, and for points under which one signature is good for many messages.
    pub(super) fn new(public: [u8; 32]) -> Option<Self> {
        let point = CompressedEdwardsY(public).decompress()?;
        (!point.is_small_order()).then(|| Self { public, minus: Box::new(EdwardsBasepointTable::create(&-point)) })
    }

    /// Whether it is of this key.
    pub(super) fn is_of(&self, public: &[u8; 32]) -> bool {
        self.public == *public
    }

    /// Whether `signature` is this key's of `message`: R = S * B - H(R, A, message) * A, compared as bytes, with an S
    /// below the group's order.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = <&[u8; SIGNATURE_LEN]>::try_from(signature) else { return false };
        let Some((r, rest)) = signature.split_first_chunk::<32>() else { return false };
        let s = <[u8; 32]>::try_from(rest).ok().and_then(|s| Scalar::from_canonical_bytes(s).into_option());
        let Some(s) = s else { return false };
        let mut hash = Context::new(&SHA512);
        hash.update(r);
        hash.update(&self.public);
        hash.update(message);
        let Ok(hash) = <[u8; 64]>::try_from(hash.finish().as_ref()) else { return false };
        let found =
            ED25519_BASEPOINT_TABLE.mul_base(&s) + self.minus.mul_base(&Scalar::from_bytes_mod_order_wide(&hash));
        found.compress().as_bytes() == r
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

    use super::*;

    fn signed(seed: u8, message: &[u8]) -> (Verifier, Vec<u8>) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        (Verifier::new(public).unwrap(), pair.sign(message).as_ref().to_vec())
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    /// RFC 8032, section 7.1, tests 1 to 3.
    #[test]
    fn the_signatures_of_the_rfc_are_good() {
        for (public, message, signature) in [
            (
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                "",
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                "72",
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
            (
                "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
                "af82",
                "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
            ),
        ] {
            let verifier = Verifier::new(hex(public).try_into().unwrap()).unwrap();
            assert!(verifier.verifies(&hex(message), &hex(signature)), "{public}");
        }
    }

    #[test]
    fn another_library_says_the_same_of_every_signature_that_was_changed() {
        for seed in 0..8 {
            let message: Vec<u8> = (0..=u8::MAX).cycle().take(usize::from(seed) * 150).collect();
            let (verifier, signature) = signed(seed, &message);
            assert!(verifier.verifies(&message, &signature));
            let other = UnparsedPublicKey::new(&ED25519, verifier.public);
            for bit in 0..signature.len() * 8 {
                let mut changed = signature.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(!verifier.verifies(&message, &changed) && other.verify(&message, &changed).is_err(), "{bit}");
            }
            for at in 0..message.len().min(40) {
                let mut changed = message.clone();
                changed[at] ^= 1;
                assert!(!verifier.verifies(&changed, &signature));
            }
            assert!(!signed(seed + 1, &message).0.verifies(&message, &signature));
        }
    }

    /// The same signature in a second form would be a second token.
    #[test]
    fn a_scalar_above_the_order_and_other_lengths_are_no_signature() {
        let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let (verifier, signature) = signed(3, b"message");
        let mut raised = signature.clone();
        let mut carry = 0;
        for (byte, add) in raised[32..].iter_mut().zip(&order) {
            let sum = u16::from(*byte) + u16::from(*add) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        assert_eq!(carry, 0);
        assert!(!verifier.verifies(b"message", &raised));
        for len in 0..signature.len() {
            assert!(!verifier.verifies(b"message", &signature[..len]));
        }
        assert!(!verifier.verifies(b"message", &[&signature[..], &[0]].concat()));
    }

    #[test]
    fn a_key_that_is_no_point_or_of_small_order_is_none() {
        let mut identity = [0; 32];
        identity[0] = 1;
        let no_point = (0..=u8::MAX).map(|byte| [byte; 32]).find(|key| CompressedEdwardsY(*key).decompress().is_none());
        for key in [identity, [0; 32], no_point.unwrap()] {
            assert!(Verifier::new(key).is_none(), "{key:?}");
        }
    }
}
