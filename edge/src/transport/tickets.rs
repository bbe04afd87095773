//! TLS session tickets that every process with the same fleet secret opens.

use std::fmt;

use panda_access::{DerivedKeys, FleetSecret, Purpose};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;

const SALT_LEN: usize = 16;
const TAG_LEN: usize = 16;

/// The longest ticket that is opened. One holds a session's secret and, from a client with a
/// certificate, that certificate; ours have none.
const TICKET_BYTES_MAX: usize = 2 * 1024;

/// How long a client is told that a ticket is good. The real end is the fleet secret's replacement.
const LIFETIME_S: u32 = 12 * 60 * 60;

/// Seals and opens the tickets of one protocol.
///
/// A ticket is `salt | ciphertext | tag`. Each has a key of its own, derived from its random salt, so
/// that no nonce can repeat however many tickets a fleet seals under one secret.
pub(super) struct FleetTickets {
    current: Prk,
    previous: Option<Prk>,
    protocol: &'static [u8],
}

impl FleetTickets {
    /// Tickets of one protocol are nothing to another.
    pub(super) fn new(fleet: &FleetSecret, protocol: &'static [u8]) -> Self {
        let DerivedKeys { current, previous } = fleet.derive(Purpose::TlsTicket);
        let prk = |key: &[u8; 32]| Prk::new_less_safe(HKDF_SHA256, key);
        Self { current: prk(&current), previous: previous.as_ref().map(prk), protocol }
    }

    fn key(&self, prk: &Prk, salt: &[u8]) -> Option<LessSafeKey> {
        let info = [self.protocol, salt];
        let derived = prk.expand(&info, &CHACHA20_POLY1305).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

impl ProducesTickets for FleetTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME_S
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut salt = [0; SALT_LEN];
        SystemRandom::new().fill(&mut salt).ok()?;
        let mut ticket = Vec::with_capacity(SALT_LEN + plain.len() + TAG_LEN);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(plain);
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = self
            .key(&self.current, &salt)?
            .seal_in_place_separate_tag(nonce, Aad::empty(), &mut ticket[SALT_LEN..])
            .ok()?;
        ticket.extend_from_slice(tag.as_ref());
        (ticket.len() <= TICKET_BYTES_MAX).then_some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        if ticket.len() > TICKET_BYTES_MAX {
            return None;
        }
        let (salt, sealed) = ticket.split_at_checked(SALT_LEN)?;
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find_map(|prk| {
            let mut plain = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            let len = self.key(prk, salt)?.open_in_place(nonce, Aad::empty(), &mut plain).ok()?.len();
            plain.truncate(len);
            Some(plain)
        })
    }
}

impl fmt::Debug for FleetTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetTickets(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_of_the_fleet_opens_a_ticket() {
        let fleet = FleetSecret::generate().unwrap();
        let ticket = FleetTickets::new(&fleet, b"https").encrypt(b"session").unwrap();
        assert_eq!(FleetTickets::new(&fleet, b"https").decrypt(&ticket).unwrap(), b"session");
        let replaced = FleetSecret::generate().unwrap().with_previous(&fleet);
        assert_eq!(FleetTickets::new(&replaced, b"https").decrypt(&ticket).unwrap(), b"session");
    }

    #[test]
    fn what_was_not_sealed_here_is_refused() {
        let fleet = FleetSecret::generate().unwrap();
        let tickets = FleetTickets::new(&fleet, b"https");
        let ticket = tickets.encrypt(b"session").unwrap();
        assert_eq!(FleetTickets::new(&fleet, b"quic").decrypt(&ticket), None);
        assert_eq!(FleetTickets::new(&FleetSecret::generate().unwrap(), b"https").decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(tickets.decrypt(&changed), None);
            assert_eq!(tickets.decrypt(&ticket[..at]), None);
        }
        assert_eq!(tickets.decrypt(&[0; TICKET_BYTES_MAX + 1]), None);
    }
}
