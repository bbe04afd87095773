//! Resume tickets: what an edge gives a session so that any edge takes it back without a database.

use std::fmt;

use bytes::Bytes;
use panda_protocol::limits::TICKET_BYTES_MAX;
use panda_protocol::{DeviceId, LoginId, UserId};

use crate::fleet_secret::{FleetSecret, Purpose};
use crate::seal::{OVERHEAD, SealError, Sealer};

/// User, device, login (zeros: none), end.
const PLAIN_LEN: usize = 16 + 16 + 8 + 8;
/// Tickets of the first version named no login, so they could not end with it.
const CONTEXT: &[u8] = b"panda ticket 2";

/// Bytes of a sealed ticket.
pub const TICKET_LEN: usize = PLAIN_LEN + OVERHEAD;

const _: () = assert!(TICKET_LEN <= TICKET_BYTES_MAX);

/// Whom a ticket lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The user.
    pub user: UserId,
    /// The device; a ticket is of no use to another one.
    pub device: DeviceId,
    /// The login of the token that the session came in with; it opens nothing once that was ended.
    pub login: Option<LoginId>,
    /// Seconds since 1970; from then on it opens nothing.
    pub expires_unix_s: u64,
}

/// Why a ticket lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// Its time is over.
    #[error("the resume ticket has expired")]
    Expired,
    /// Not this deployment's, or changed.
    #[error("the resume ticket is not valid")]
    Invalid,
}

/// Seals and opens tickets.
#[derive(Clone)]
pub struct TicketSealer {
    sealer: Sealer,
}

impl TicketSealer {
    /// The sealer of a deployment.
    pub fn new(secret: &FleetSecret) -> Self {
        Self { sealer: Sealer::new(&secret.derive(Purpose::Ticket)) }
    }

    /// The ticket's opaque bytes, [`TICKET_LEN`] of them.
    ///
    /// # Errors
    /// [`SealError::Random`] if the system has no random bytes.
    pub fn seal(&self, ticket: &Ticket) -> Result<Bytes, SealError> {
        let mut plain = [0; PLAIN_LEN];
        plain[..16].copy_from_slice(ticket.user.as_bytes());
        plain[16..32].copy_from_slice(ticket.device.as_bytes());
        plain[32..40].copy_from_slice(&ticket.login.map_or([0; 8], LoginId::to_bytes));
        plain[40..].copy_from_slice(&ticket.expires_unix_s.to_be_bytes());
        Ok(self.sealer.seal(&plain, CONTEXT)?.into())
    }

    /// Opens a ticket that a client gave.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn open(&self, sealed: &[u8], now_unix_s: u64) -> Result<Ticket, TicketError> {
        if sealed.len() != TICKET_LEN {
            return Err(TicketError::Invalid);
        }
        let plain = self.sealer.open(sealed, CONTEXT).map_err(|_| TicketError::Invalid)?;
        let ticket = read(&plain).ok_or(TicketError::Invalid)?;
        if now_unix_s >= ticket.expires_unix_s {
            return Err(TicketError::Expired);
        }
        Ok(ticket)
    }
}

impl fmt::Debug for TicketSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSealer(hidden)")
    }
}

fn read(plain: &[u8]) -> Option<Ticket> {
    let (user, rest) = plain.split_first_chunk::<16>()?;
    let (device, rest) = rest.split_first_chunk::<16>()?;
    let (login, rest) = rest.split_first_chunk::<8>()?;
    let expires = rest.first_chunk::<8>()?;
    Some(Ticket {
        user: UserId::from_bytes(*user).ok()?,
        device: DeviceId::from_bytes(*device).ok()?,
        login: LoginId::from_bytes(*login),
        expires_unix_s: u64::from_be_bytes(*expires),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICKET_EXPIRES: u64 = 2_000;

    fn ticket() -> Ticket {
        Ticket {
            user: UserId::from_random([1; 16]),
            device: DeviceId::from_random([2; 16]),
            login: Some(LoginId::from_random(3)),
            expires_unix_s: TICKET_EXPIRES,
        }
    }

    fn secret(digits: &str) -> FleetSecret {
        FleetSecret::parse(&digits.repeat(32)).unwrap()
    }

    #[test]
    fn a_ticket_opens_on_every_edge_until_it_expires() {
        let sealed = TicketSealer::new(&secret("11")).seal(&ticket()).unwrap();
        assert_eq!(sealed.len(), TICKET_LEN);
        let other_edge = TicketSealer::new(&secret("11"));
        assert_eq!(other_edge.open(&sealed, TICKET_EXPIRES - 1), Ok(ticket()));
        assert_eq!(other_edge.open(&sealed, TICKET_EXPIRES), Err(TicketError::Expired));
        let of_no_login = Ticket { login: None, ..ticket() };
        assert_eq!(other_edge.open(&other_edge.seal(&of_no_login).unwrap(), 0), Ok(of_no_login));
    }

    #[test]
    fn a_ticket_changed_in_any_byte_or_length_is_refused() {
        let sealer = TicketSealer::new(&secret("11"));
        let sealed = sealer.seal(&ticket()).unwrap();
        for index in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[index] ^= 1;
            assert_eq!(sealer.open(&changed, 0), Err(TicketError::Invalid), "byte {index}");
            assert_eq!(sealer.open(&sealed[..index], 0), Err(TicketError::Invalid), "cut at {index}");
        }
        let longer = [&sealed[..], &[0]].concat();
        assert_eq!(sealer.open(&longer, 0), Err(TicketError::Invalid));
    }

    #[test]
    fn a_ticket_of_the_previous_secret_opens_and_of_any_other_does_not() {
        let (old, new) = (secret("11"), secret("22"));
        let sealed = TicketSealer::new(&old).seal(&ticket()).unwrap();
        assert_eq!(TicketSealer::new(&new.clone().with_previous(&old)).open(&sealed, 0), Ok(ticket()));
        assert_eq!(TicketSealer::new(&new).open(&sealed, 0), Err(TicketError::Invalid));
    }

    #[test]
    fn two_tickets_of_one_session_share_no_bytes_that_tell() {
        let sealer = TicketSealer::new(&secret("11"));
        assert_ne!(sealer.seal(&ticket()).unwrap(), sealer.seal(&ticket()).unwrap());
    }
}
