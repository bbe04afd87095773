//! TLS session tickets that every process with the same fleet secret opens.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use panda_access::{DerivedKeys, FleetSecret, Purpose};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::digest::{SHA256, digest};
use ring::hkdf::{HKDF_SHA256, Prk};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

const SALT_LEN: usize = 16;
const TAG_LEN: usize = 16;
/// When its secret was agreed on, in seconds since 1970.
const TIME_LEN: usize = 8;

/// The longest ticket that is opened. One holds a session's secret and, from a client with a
/// certificate, that certificate; ours have none.
const TICKET_BYTES_MAX: usize = 2 * 1024;

/// How long a ticket is good, and in TLS 1.2 the secret that all tickets behind it carry on: a client is told so, and
/// later none is opened. RFC 8446 allows a week.
const LIFETIME_S: u32 = 12 * 60 * 60;

/// By how many seconds the clock of another machine of the fleet may be ahead.
const LEEWAY_S: u64 = 60;

/// Seals and opens the tickets of one protocol.
///
/// A ticket is `salt | ciphertext | tag`, and the first thing encrypted is when its secret was agreed on. Each has a key
/// of its own, derived from its random salt, so that no nonce can repeat however many tickets a fleet seals under one
/// secret.
pub(super) struct FleetTickets {
    current: Prk,
    previous: Option<Prk>,
    protocol: &'static [u8],
    clock: Arc<dyn TimeProvider>,
}

/// What a ticket's secret hashes to, and when it was agreed on.
type Agreed = ([u8; 32], u64);

thread_local! {
    /// Of the last ticket that this thread opened. A session of TLS 1.2 that is resumed has the secret of the one before,
    /// and rustls seals it again in the call that opened it: it is none that was agreed on anew.
    static OPENED: Cell<Option<Agreed>> = const { Cell::new(None) };
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
        let secret = secret_hash(plain)?;
        let agreed_at = match OPENED.take() {
            Some((opened, agreed_at)) if opened == secret => agreed_at,
            _ => self.clock.current_time()?.as_secs(),
        };
        let mut ticket = Vec::with_capacity(SALT_LEN + TIME_LEN + plain.len() + TAG_LEN);
        ticket.extend_from_slice(&salt);
        ticket.extend_from_slice(&agreed_at.to_be_bytes());
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
        let (agreed_at, plain) = opened.as_deref()?.split_first_chunk::<TIME_LEN>()?;
        let (agreed_at, now) = (u64::from_be_bytes(*agreed_at), self.clock.current_time()?.as_secs());
        let good = agreed_at.saturating_sub(LEEWAY_S)..agreed_at.saturating_add(LIFETIME_S.into());
        if !good.contains(&now) {
            return None;
        }
        OPENED.set(Some((secret_hash(plain)?, agreed_at)));
        Some(plain.to_vec())
    }
}

/// Of the secret of a session as rustls writes it: the server's name if there is one, version, suite, secret.
fn secret_hash(plain: &[u8]) -> Option<[u8; 32]> {
    let (named, rest) = plain.split_first()?;
    let rest = if *named == 0 { rest } else { rest.get(1 + usize::from(*rest.first()?)..)? };
    let (len, rest) = rest.get(4..)?.split_first()?;
    digest(&SHA256, rest.get(..usize::from(*len))?).as_ref().try_into().ok()
}

impl fmt::Debug for FleetTickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FleetTickets(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection, version,
    };

    use super::*;

    const NOW: u64 = 1_800_000_000;
    /// A session without a name, and with a secret of two bytes.
    const SESSION: &[u8] = &[0, 3, 4, 0x13, 1, 2, 7, 8, 0, 0, 0, 0];

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
        let ticket = tickets(&fleet, b"https").encrypt(SESSION).unwrap();
        assert_eq!(tickets(&fleet, b"https").decrypt(&ticket).unwrap(), SESSION);
        let replaced = FleetSecret::generate().unwrap().with_previous(&fleet);
        assert_eq!(tickets(&replaced, b"https").decrypt(&ticket).unwrap(), SESSION);
    }

    #[test]
    fn what_was_not_sealed_here_is_refused() {
        let fleet = FleetSecret::generate().unwrap();
        let sealer = tickets(&fleet, b"https");
        let ticket = sealer.encrypt(SESSION).unwrap();
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
        let ticket = tickets.encrypt(SESSION).unwrap();
        let until = NOW + u64::from(tickets.lifetime());
        for (now, opens) in [(NOW - LEEWAY_S - 1, false), (NOW - LEEWAY_S, true), (until - 1, true), (until, false)] {
            clock.0.store(now, Ordering::Relaxed);
            assert_eq!(tickets.decrypt(&ticket).is_some(), opens, "{now}");
        }
    }

    #[test]
    fn a_session_that_says_no_secret_is_not_sealed() {
        let tickets = tickets(&FleetSecret::generate().unwrap(), b"https");
        for len in 0..8 {
            assert_eq!(tickets.encrypt(&SESSION[..len]), None);
        }
        assert!(tickets.encrypt(&[&[1, 2, b'a', b'b'], &SESSION[1..]].concat()).is_some());
        assert_eq!(tickets.encrypt(&[1, 200, 3, 4]), None);
    }

    struct Peers {
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
        clock: Arc<Clock>,
    }

    impl Peers {
        /// Peers that speak one version alone.
        fn of(version: &'static rustls::SupportedProtocolVersion) -> Self {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let chain = vec![CertificateDer::from(made.cert)];
            let mut roots = RootCertStore::empty();
            roots.add(chain[0].clone()).unwrap();
            let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
            let clock = Arc::new(Clock(AtomicU64::new(UnixTime::now().as_secs())));
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let client = ClientConfig::builder_with_details(Arc::clone(&provider), clock.clone())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let mut server = ServerConfig::builder_with_details(provider, clock.clone())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
            server.ticketer = Arc::new(FleetTickets::new(&FleetSecret::generate().unwrap(), b"https", clock.clone()));
            Self { client: Arc::new(client), server: Arc::new(server), clock }
        }

        /// A handshake so many seconds later: whether it resumed an earlier one.
        fn resume_after(&self, seconds: u64) -> bool {
            self.clock.0.fetch_add(seconds, Ordering::Relaxed);
            let name = "localhost".try_into().unwrap();
            let mut client = ClientConnection::new(Arc::clone(&self.client), name).unwrap();
            let mut server = ServerConnection::new(Arc::clone(&self.server)).unwrap();
            while client.wants_write() || server.wants_write() {
                let mut wire = Vec::new();
                client.write_tls(&mut wire).unwrap();
                server.read_tls(&mut &wire[..]).unwrap();
                server.process_new_packets().unwrap();
                wire.clear();
                server.write_tls(&mut wire).unwrap();
                client.read_tls(&mut &wire[..]).unwrap();
                client.process_new_packets().unwrap();
            }
            assert!(!client.is_handshaking() && !server.is_handshaking());
            server.handshake_kind() == Some(HandshakeKind::Resumed)
        }
    }

    #[test]
    fn a_secret_of_tls_1_2_ends_as_its_first_ticket_does_however_often_it_is_resumed() {
        const HOUR: u64 = 60 * 60;
        let old = Peers::of(&version::TLS12);
        assert!(!old.resume_after(0), "there is nothing to resume");
        assert!(old.resume_after(5 * HOUR));
        assert!(old.resume_after(5 * HOUR));
        assert!(old.resume_after(2 * HOUR - 1));
        assert!(!old.resume_after(1), "the secret is twelve hours old");
        assert!(old.resume_after(11 * HOUR));
        // Each session of TLS 1.3 agrees on a secret of its own.
        let new = Peers::of(&version::TLS13);
        assert!(!new.resume_after(0));
        for _ in 0..4 {
            assert!(new.resume_after(11 * HOUR));
        }
        assert!(!new.resume_after(12 * HOUR));
    }
}
