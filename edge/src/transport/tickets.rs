//! TLS session tickets that every process with the same fleet secret opens.

use std::fmt;
use std::sync::Arc;

use panda_access::{DerivedKeys, FleetSecret, Purpose};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

const SALT_LEN: usize = 16;
const TAG_LEN: usize = 16;
/// When it was sealed, in seconds since 1970.
const TIME_LEN: usize = 8;

/// The longest ticket that is opened. One holds a session's secret and, from a client with a
/// certificate, that certificate; ours have none.
const TICKET_BYTES_MAX: usize = 2 * 1024;

/// How long a ticket is good: a client is told so, and later it is not opened. RFC 8446 allows a week.
const LIFETIME_S: u32 = 12 * 60 * 60;

/// By how many seconds the clock of another machine of the fleet may be ahead.
const LEEWAY_S: u64 = 60;

/// Seals and opens the tickets of one protocol.
///
/// A ticket is `salt | ciphertext | tag`, and the first thing encrypted is when it was sealed. Each has a key of its own, derived from its random salt, so
/// that no nonce can repeat however many tickets a fleet seals under one secret.
pub(super) struct FleetTickets {
    current: Prk,
    previous: Option<Prk>,
    protocol: &'static [u8],
    clock: Arc<dyn TimeProvider>,
}

impl FleetTickets {
    /// Tickets of one protocol are nothing to another. `clock` is the one of the connections that they are for.
    pub(super) fn new(fleet: &FleetSecret, protocol: &'static [u8], clock: Arc<dyn TimeProvider>) -> Self {
        let DerivedKeys { current, previous } = fleet.derive(Purpose::TlsTicket);
        let prk = |key: &[u8; 32]| Prk::new_less_safe(HKDF_SHA256, key);
        Self { current: prk(&current), previous: previous.as_ref().map(prk), protocol, clock }
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
        let now = self.clock.current_time()?.as_secs();
        let mut ticket = Vec::with_capacity(SALT_LEN + TIME_LEN + plain.len() + TAG_LEN);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(&now.to_be_bytes());
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
        // A ClientHello may offer hundreds, and each costs a key.
        if !(SALT_LEN + TIME_LEN + TAG_LEN..=TICKET_BYTES_MAX).contains(&ticket.len()) {
            return None;
        }
        let (salt, sealed) = ticket.split_at_checked(SALT_LEN)?;
        let opened = [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find_map(|prk| {
            let mut plain = sealed.to_vec();
            let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
            let len = self.key(prk, salt)?.open_in_place(nonce, Aad::empty(), &mut plain).ok()?.len();
            plain.truncate(len);
            Some(plain)
        });
        let (sealed_at, plain) = opened.as_deref()?.split_first_chunk::<TIME_LEN>()?;
        let (sealed_at, now) = (u64::from_be_bytes(*sealed_at), self.clock.current_time()?.as_secs());
        let good = sealed_at.saturating_sub(LEEWAY_S)..sealed_at.saturating_add(LIFETIME_S.into());
        good.contains(&now).then(|| plain.to_vec())
    }
}

impl fmt::Debug for FleetTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetTickets(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustls::pki_types::UnixTime;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    #[derive(Debug)]
    struct Clock(AtomicU64);

    impl TimeProvider for Clock {
        fn current_time(&self) -> Option<UnixTime> {
            Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.0.load(Ordering::Relaxed))))
        }
    }

    fn tickets(fleet: &FleetSecret, protocol: &'static [u8]) -> FleetTickets {
        FleetTickets::new(fleet, protocol, Arc::new(Clock(AtomicU64::new(NOW))))
    }

    #[test]
    fn another_process_of_the_fleet_opens_a_ticket() {
        let fleet = FleetSecret::generate().unwrap();
        let ticket = tickets(&fleet, b"https").encrypt(b"session").unwrap();
        assert_eq!(tickets(&fleet, b"https").decrypt(&ticket).unwrap(), b"session");
        let replaced = FleetSecret::generate().unwrap().with_previous(&fleet);
        assert_eq!(tickets(&replaced, b"https").decrypt(&ticket).unwrap(), b"session");
    }

    #[test]
    fn what_was_not_sealed_here_is_refused() {
        let fleet = FleetSecret::generate().unwrap();
        let sealer = tickets(&fleet, b"https");
        let ticket = sealer.encrypt(b"session").unwrap();
        assert_eq!(tickets(&fleet, b"quic").decrypt(&ticket), None);
        assert_eq!(tickets(&FleetSecret::generate().unwrap(), b"https").decrypt(&ticket), None);
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(sealer.decrypt(&changed), None);
            assert_eq!(sealer.decrypt(&ticket[..at]), None);
        }
        assert_eq!(sealer.decrypt(&[0; TICKET_BYTES_MAX + 1]), None);
    }

    #[test]
    fn a_ticket_is_good_as_long_as_clients_are_told() {
        let clock = Arc::new(Clock(AtomicU64::new(NOW)));
        let tickets = FleetTickets::new(&FleetSecret::generate().unwrap(), b"https", clock.clone());
        let ticket = tickets.encrypt(b"session").unwrap();
        let until = NOW + u64::from(tickets.lifetime());
        for (now, opens) in [(NOW - LEEWAY_S - 1, false), (NOW - LEEWAY_S, true), (until - 1, true), (until, false)] {
            clock.0.store(now, Ordering::Relaxed);
            assert_eq!(tickets.decrypt(&ticket).is_some(), opens, "{now}");
        }
    }
}
