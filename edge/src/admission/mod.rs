//! The gates before a session exists: who may connect at all, and for how long without saying Hello.
//!
//! A connection passes three counts before anything is allocated for it: connections of its address,
//! handshakes in progress, and connections of the process. It holds its places as a [`Handshake`], then
//! as a [`Place`]; dropping either gives them back, whatever way the connection ends.

mod addresses;
mod counters;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use counters::{AdmissionCounters, Counted};
use panda_access::Neighbourhood;
use panda_protocol::ErrorCode;
use tokio::time::Instant;

use self::addresses::Addresses;

/// Limits on connections that are not sessions yet, and on how many there are.
#[derive(Clone, Debug)]
pub struct AdmissionLimits {
    /// Connections between accept and a valid Hello. Default 4,096.
    pub handshakes_max: usize,
    /// Sessions of this process, over all transports. Default 1,000,000.
    pub sessions_max: usize,
    /// Connections from one IPv4 address or one IPv6 /64, HTTP included. Default 20,000.
    pub connections_per_address_max: usize,
    /// Of them, connections of the HTTP API, so that nobody takes all that it serves. Default 512.
    pub http_connections_per_address_max: usize,
    /// From accept to a valid Hello: TLS, request head and authentication together. Default 10 s.
    pub handshake_timeout: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            handshakes_max: 4_096,
            sessions_max: 1_000_000,
            connections_per_address_max: 20_000,
            http_connections_per_address_max: 512,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// Why a connection was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many handshakes are in progress.
    #[error("too many handshakes are in progress")]
    Handshakes,
    /// As many sessions as there may be.
    #[error("there are as many sessions as there may be")]
    Sessions,
    /// Too many connections from this address.
    #[error("too many connections come from this address")]
    Address,
    /// Too many HTTP connections from this address.
    #[error("too many HTTP connections come from this address")]
    Http,
}

impl Refusal {
    /// What the peer is told.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Handshakes | Self::Sessions => ErrorCode::Overloaded,
            Self::Address | Self::Http => ErrorCode::TooManyConnections,
        }
    }

    /// How many seconds the peer is asked to stay away.
    pub const fn retry_after_s(self) -> u64 {
        match self {
            Self::Handshakes => 2,
            Self::Sessions => 10,
            Self::Address | Self::Http => 30,
        }
    }
}

/// The gate of one process; all workers share it.
#[derive(Clone, Debug)]
pub struct Gate {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    limits: AdmissionLimits,
    handshakes: AtomicUsize,
    sessions: AtomicUsize,
    addresses: Addresses,
    counters: AdmissionCounters,
}

impl Gate {
    /// A gate with nobody inside.
    pub fn new(limits: AdmissionLimits) -> Self {
        let shared = Shared {
            handshakes: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            addresses: Addresses::new(limits.connections_per_address_max, limits.http_connections_per_address_max),
            counters: AdmissionCounters::default(),
            limits,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Lets a connection from `address` begin its handshake. Called before anything is read from it.
    ///
    /// # Errors
    /// [`Refusal`], counted.
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<Handshake, Refusal> {
        let place = self.place(address).inspect_err(|refusal| self.shared.counters.refused(*refusal))?;
        self.shared.counters.count(Counted::Admitted);
        Ok(Handshake { place, deadline: now + self.shared.limits.handshake_timeout, finished: false })
    }

    fn place(&self, address: IpAddr) -> Result<Place, Refusal> {
        let shared = &self.shared;
        // Sessions are counted when they authenticate; here only what is hopeless is turned away early.
        if shared.sessions.load(Ordering::Relaxed) >= shared.limits.sessions_max {
            return Err(Refusal::Sessions);
        }
        enter(&shared.handshakes, shared.limits.handshakes_max).ok_or(Refusal::Handshakes)?;
        let neighbourhood = Neighbourhood::of(address);
        if !shared.addresses.enter(neighbourhood) {
            shared.handshakes.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Address);
        }
        Ok(Place { shared: shared.clone(), neighbourhood, holds: Holds::Handshake })
    }

    /// Handshakes in progress.
    pub fn handshakes(&self) -> usize {
        self.shared.handshakes.load(Ordering::Relaxed)
    }

    /// Sessions.
    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(Ordering::Relaxed)
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &AdmissionLimits {
        &self.shared.limits
    }

    /// What was admitted, refused and given up so far.
    pub fn counters(&self) -> &AdmissionCounters {
        &self.shared.counters
    }
}

/// Raises `count` unless it is at `max`.
fn enter(count: &AtomicUsize, max: usize) -> Option<()> {
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < max).then(|| now + 1)).ok().map(|_| ())
}

/// A connection that has not authenticated yet.
#[derive(Debug)]
pub struct Handshake {
    place: Place,
    deadline: Instant,
    finished: bool,
}

impl Handshake {
    /// When it must have authenticated. Who waits for the peer waits no longer than this.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The Hello was valid: gives the handshake's place back and takes a session's.
    ///
    /// # Errors
    /// [`Refusal::Sessions`] if all are taken.
    pub fn authenticated(mut self) -> Result<Place, Refusal> {
        self.finished = true;
        let shared = &self.place.shared;
        if enter(&shared.sessions, shared.limits.sessions_max).is_none() {
            shared.counters.refused(Refusal::Sessions);
            return Err(Refusal::Sessions);
        }
        Ok(self.into_place(Holds::Session))
    }

    /// The connection is the HTTP API's: it keeps only its address's places.
    ///
    /// # Errors
    /// The handshake, counted as [`Refusal::Http`], if the address has too many of them; whoever tells the peer
    /// so holds it meanwhile.
    pub fn handed_over(mut self) -> Result<Place, Self> {
        self.finished = true;
        let shared = &self.place.shared;
        if !shared.addresses.enter_http(self.place.neighbourhood) {
            shared.counters.refused(Refusal::Http);
            return Err(self);
        }
        shared.counters.count(Counted::HandedOver);
        Ok(self.into_place(Holds::Http))
    }

    /// Counts that the peer did not finish in time; dropping without it counts as given up.
    pub fn timed_out(mut self) {
        self.finished = true;
        self.place.shared.counters.count(Counted::TimedOut);
    }

    fn into_place(mut self, holds: Holds) -> Place {
        self.place.shared.handshakes.fetch_sub(1, Ordering::Relaxed);
        self.place.holds = holds;
        // The stand-in holds nothing, so that dropping `self` gives nothing back twice.
        let Place { shared, neighbourhood, .. } = &self.place;
        let nothing = Place { shared: shared.clone(), neighbourhood: *neighbourhood, holds: Holds::Nothing };
        std::mem::replace(&mut self.place, nothing)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if !self.finished {
            self.place.shared.counters.count(Counted::Abandoned);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Nothing,
    Handshake,
    Session,
    Http,
}

/// A connection's place in the counts, given back when it is dropped. Every session has one.
#[derive(Debug)]
pub struct Place {
    shared: Arc<Shared>,
    neighbourhood: Neighbourhood,
    holds: Holds,
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.holds {
            Holds::Nothing => return,
            Holds::Http => self.shared.addresses.leave_http(self.neighbourhood),
            Holds::Handshake => {
                self.shared.handshakes.fetch_sub(1, Ordering::Relaxed);
            }
            Holds::Session => {
                self.shared.sessions.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.shared.addresses.leave(self.neighbourhood);
    }
}

#[cfg(test)]
mod tests;
