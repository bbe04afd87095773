//! Membership proofs: an edge's word that a user was a member of an entity at a seq.
//!
//! A proof is not secret and does not expire: the owner of the chat checks that no removal came after
//! its seq. Layout: version, seq (8 bytes, big-endian), the first 16 bytes of an HMAC-SHA256.

use std::fmt;

use bytes::Bytes;
use panda_protocol::limits::PROOF_BYTES_MAX;
use panda_protocol::{EntityId, Seq, UserId};
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256, Key};

use crate::fleet_secret::{FleetSecret, Purpose};

const VERSION: u8 = 1;
const TAG_LEN: usize = 16;
const HEADER_LEN: usize = 1 + 8;

/// Bytes of a proof.
pub const PROOF_LEN: usize = HEADER_LEN + TAG_LEN;

const _: () = assert!(PROOF_LEN <= PROOF_BYTES_MAX);

/// Makes and checks proofs.
#[derive(Clone)]
pub struct ProofSealer {
    current: Key,
    previous: Option<Key>,
}

impl ProofSealer {
    /// The sealer of a deployment.
    pub fn new(secret: &FleetSecret) -> Self {
        let keys = secret.derive(Purpose::Proof);
        let key = |bytes: &[u8; 32]| Key::new(HMAC_SHA256, bytes);
        Self { current: key(&keys.current), previous: keys.previous.as_ref().map(key) }
    }

    /// A proof that `user` was a member of `entity` at `seq`.
    pub fn seal(&self, user: UserId, entity: EntityId, seq: Seq) -> Bytes {
        let mut proof = Vec::with_capacity(PROOF_LEN);
        proof.push(VERSION);
        proof.extend_from_slice(&seq.0.to_be_bytes());
        let tag = tag(&self.current, user, entity, seq);
        proof.extend_from_slice(&tag);
        proof.into()
    }

    /// The seq that a proof names, if an edge of this deployment made it for this user and entity.
    pub fn verify(&self, user: UserId, entity: EntityId, proof: &[u8]) -> Option<Seq> {
        if proof.len() != PROOF_LEN {
            return None;
        }
        let (&version, rest) = proof.split_first()?;
        let (seq, given) = rest.split_first_chunk::<8>()?;
        if version != VERSION {
            return None;
        }
        let seq = Seq(u64::from_be_bytes(*seq));
        // Digests of both sides are compared, so the time it takes tells nothing of the tag.
        let given = digest(&SHA256, given);
        std::iter::once(&self.current)
            .chain(&self.previous)
            .any(|key| digest(&SHA256, &tag(key, user, entity, seq)).as_ref() == given.as_ref())
            .then_some(seq)
    }
}

impl fmt::Debug for ProofSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofSealer(hidden)")
    }
}

fn tag(key: &Key, user: UserId, entity: EntityId, seq: Seq) -> [u8; TAG_LEN] {
    let mut context = hmac::Context::with_key(key);
    context.update(&[VERSION]);
    context.update(user.as_bytes());
    context.update(entity.as_bytes());
    context.update(&seq.0.to_be_bytes());
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG_LEN]);
    tag
}

#[cfg(test)]
mod tests {
    use panda_protocol::ChatId;

    use super::*;

    fn secret(digits: &str) -> FleetSecret {
        FleetSecret::parse(&digits.repeat(32)).unwrap()
    }

    fn user(byte: u8) -> UserId {
        UserId::from_random([byte; 16])
    }

    #[test]
    fn a_proof_holds_for_its_user_and_entity_only() {
        let sealer = ProofSealer::new(&secret("11"));
        let chat = EntityId::from(ChatId::direct(user(1), user(2)));
        let proof = sealer.seal(user(1), chat, Seq(77));
        assert_eq!(proof.len(), PROOF_LEN);
        assert_eq!(sealer.verify(user(1), chat, &proof), Some(Seq(77)));
        assert_eq!(sealer.verify(user(2), chat, &proof), None);
        assert_eq!(sealer.verify(user(1), EntityId::from(user(1)), &proof), None);
    }

    #[test]
    fn a_changed_proof_proves_nothing() {
        let sealer = ProofSealer::new(&secret("11"));
        let chat = EntityId::from(user(1));
        let proof = sealer.seal(user(1), chat, Seq(77));
        for index in 0..proof.len() {
            let mut changed = proof.to_vec();
            changed[index] ^= 0x80;
            assert_eq!(sealer.verify(user(1), chat, &changed), None, "byte {index}");
            assert_eq!(sealer.verify(user(1), chat, &proof[..index]), None, "cut at {index}");
        }
    }

    #[test]
    fn a_proof_of_the_previous_secret_holds_and_of_any_other_does_not() {
        let (old, new) = (secret("11"), secret("22"));
        let entity = EntityId::from(user(1));
        let proof = ProofSealer::new(&old).seal(user(1), entity, Seq(5));
        assert_eq!(ProofSealer::new(&new.clone().with_previous(&old)).verify(user(1), entity, &proof), Some(Seq(5)));
        assert_eq!(ProofSealer::new(&new).verify(user(1), entity, &proof), None);
    }
}
