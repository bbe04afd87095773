//! Membership proofs: an edge's word that a user was a member of an entity at a seq, and as what.
//!
//! A proof is not secret and does not expire: the owner of the chat checks that no event behind its seq took a right
//! or changed a role. It holds in one incarnation of the event store, because what comes behind that seq in another
//! one is another history; who brings it says in which. Layout: version, seq (8 bytes, big-endian), role, first
//! visible seq (8 bytes), the first 16 bytes of an HMAC-SHA256.

use std::fmt;

use bytes::Bytes;
use panda_protocol::codec::{Reader, Writer};
use panda_protocol::limits::PROOF_BYTES_MAX;
use panda_protocol::link::Membership;
use panda_protocol::{EntityId, Incarnation, Seq, UserId};
use ring::digest::{SHA256, digest};
use ring::hmac::{self, HMAC_SHA256, Key};

use crate::fleet_secret::{FleetSecret, Purpose};

/// Proofs of version 1 named no role.
const VERSION: u8 = 2;
const TAG_LEN: usize = 16;
const SAID_LEN: usize = 1 + 8 + 1 + 8;

/// Bytes of a proof.
pub const PROOF_LEN: usize = SAID_LEN + TAG_LEN;

const _: () = assert!(PROOF_LEN <= PROOF_BYTES_MAX);

/// Makes and checks proofs.
#[derive(Clone)]
pub struct ProofSealer {
    current: Key,
    previous: Option<Key>,
}

/// Whose proof it is, of what, and in which incarnation of the event store.
pub type ProofOf = (UserId, EntityId, Incarnation);

impl ProofSealer {
    /// The sealer of a deployment.
    pub fn new(secret: &FleetSecret) -> Self {
        let keys = secret.derive(Purpose::Proof);
        let key = |bytes: &[u8; 32]| Key::new(HMAC_SHA256, bytes);
        Self { current: key(&keys.current), previous: keys.previous.as_ref().map(key) }
    }

    /// A proof that the user was this member of the entity, in this incarnation of the event store.
    pub fn seal(&self, of: ProofOf, member: Membership) -> Bytes {
        let mut proof = Writer::with_capacity(PROOF_LEN);
        proof.u8(VERSION);
        proof.raw(&member.at.0.to_be_bytes());
        proof.value(&member.role);
        proof.raw(&member.visible_from.0.to_be_bytes());
        let mut proof = proof.freeze().to_vec();
        let tag = tag(&self.current, of, &proof);
        proof.extend_from_slice(&tag);
        proof.into()
    }

    /// What a proof says, if an edge of this deployment made it for this user, entity and incarnation.
    pub fn verify(&self, of: ProofOf, proof: &Bytes) -> Option<Membership> {
        if proof.len() != PROOF_LEN {
            return None;
        }
        let (said, given) = proof.split_at(SAID_LEN);
        // Digests of both sides are compared, so the time it takes tells nothing of the tag.
        let given = digest(&SHA256, given);
        let mut keys = std::iter::once(&self.current).chain(&self.previous);
        if !keys.any(|key| digest(&SHA256, &tag(key, of, said)).as_ref() == given.as_ref()) {
            return None;
        }
        let said = &mut Reader::new(proof.slice(..SAID_LEN));
        if said.u8().ok()? != VERSION {
            return None;
        }
        let at = Seq(u64::from_be_bytes(said.array().ok()?));
        let role = said.value().ok()?;
        Some(Membership { at, role, visible_from: Seq(u64::from_be_bytes(said.array().ok()?)) })
    }
}

impl fmt::Debug for ProofSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProofSealer(hidden)")
    }
}

fn tag(key: &Key, (user, entity, incarnation): ProofOf, said: &[u8]) -> [u8; TAG_LEN] {
    let mut context = hmac::Context::with_key(key);
    // All but the last have one length each.
    context.update(user.as_bytes());
    context.update(entity.as_bytes());
    context.update(&incarnation.0);
    context.update(said);
    let mut tag = [0; TAG_LEN];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG_LEN]);
    tag
}

#[cfg(test)]
mod tests {
    use panda_protocol::ChatId;
    use panda_protocol::event::Role;

    use super::*;

    const HERE: Incarnation = Incarnation(*b"in tests");
    const MEMBER: Membership = Membership { at: Seq(77), role: Role::Admin, visible_from: Seq(5) };

    fn secret(digits: &str) -> FleetSecret {
        FleetSecret::parse(&digits.repeat(32)).unwrap()
    }

    fn user(byte: u8) -> UserId {
        UserId::from_random([byte; 16])
    }

    #[test]
    fn a_proof_holds_for_its_user_entity_and_incarnation_only() {
        let sealer = ProofSealer::new(&secret("11"));
        let chat = EntityId::from(ChatId::direct(user(1), user(2)));
        let proof = sealer.seal((user(1), chat, HERE), MEMBER);
        assert_eq!(proof.len(), PROOF_LEN);
        assert_eq!(sealer.verify((user(1), chat, HERE), &proof), Some(MEMBER));
        assert_eq!(sealer.verify((user(2), chat, HERE), &proof), None);
        assert_eq!(sealer.verify((user(1), EntityId::from(user(1)), HERE), &proof), None);
        assert_eq!(sealer.verify((user(1), chat, Incarnation(*b"restored")), &proof), None);
    }

    #[test]
    fn a_changed_proof_proves_nothing() {
        let sealer = ProofSealer::new(&secret("11"));
        let of = (user(1), EntityId::from(user(1)), HERE);
        let proof = sealer.seal(of, MEMBER);
        for index in 0..proof.len() {
            let mut changed = proof.to_vec();
            changed[index] ^= 0x80;
            assert_eq!(sealer.verify(of, &changed.into()), None, "byte {index}");
            assert_eq!(sealer.verify(of, &proof.slice(..index)), None, "cut at {index}");
        }
    }

    #[test]
    fn a_proof_of_the_previous_secret_holds_and_of_any_other_does_not() {
        let (old, new) = (secret("11"), secret("22"));
        let of = (user(1), EntityId::from(user(1)), HERE);
        let proof = ProofSealer::new(&old).seal(of, MEMBER);
        assert_eq!(ProofSealer::new(&new.clone().with_previous(&old)).verify(of, &proof), Some(MEMBER));
        assert_eq!(ProofSealer::new(&new).verify(of, &proof), None);
    }
}
