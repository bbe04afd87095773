//! Listeners without sockets, for `benches/fan_out.rs` alone: what comes down a link is encoded, queued for each of them,
//! and handed to transports that take all of it.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use panda_access::{AccessKeys, FleetSecret, Revocations, Signer, SigningKey};
use panda_link::{LinkLimits, Links};
use panda_protocol::event::Role;
use panda_protocol::frame::{Admission, Auth, Frame, Hello, Start};
use panda_protocol::framing::{RawFrame, next_frame};
use panda_protocol::limits::HELLO_BYTES_MAX;
use panda_protocol::link::{Admitted, Down, Events, LinkEvent, LinkId, Up};
use panda_protocol::{DeviceId, EntityId, ErrorCode, Generation, Incarnation, Seq, Time, UserId};
use panda_storage::embedded::EmbeddedLog;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::admission::{AdmissionLimits, Gate};
use crate::config::SessionLimits;
use crate::metrics::EdgeMetrics;
use crate::session::SessionKey;
use crate::transport::{Outgoing, Transport, TransportError};
use crate::worker::{Core, CoreParts};

const UNIX_S: u64 = 1_000_000;
const GENERATION: Generation = Generation(1);

fn clock() -> Time {
    Time(UNIX_S * 1_000_000)
}

/// Sessions of one user on as many devices, all of which listen to the user's inbox.
pub struct Listeners {
    core: Core<EmbeddedLog>,
    inbox: EntityId,
    keys: Vec<SessionKey>,
    next: Seq,
}

impl Listeners {
    /// Connects them.
    ///
    /// # Panics
    /// If one of them is not let in.
    pub fn of(count: usize) -> Self {
        let user = UserId::from_random([1; 16]);
        let gate = Gate::new(AdmissionLimits { connections_per_address_max: count, ..AdmissionLimits::default() });
        let key = SigningKey::generate().expect("the system has randomness");
        let fleet = FleetSecret::generate().expect("the system has randomness");
        let core = Core::new(CoreParts {
            links: Links::new(EmbeddedLog::new(1, 1, clock), LinkId(1), 0, LinkLimits::default()),
            limits: SessionLimits::default(),
            keys: AccessKeys::new([key.verifying_key().clone()]),
            revocations: Revocations::new(),
            fleet,
            metrics: EdgeMetrics::new(gate.clone()),
            clock,
            stirred: Rc::new(Notify::new()),
        });
        let mut listeners = Self { core, inbox: user.into(), keys: Vec::new(), next: Seq(1) };
        let signer = Signer::new(&key);
        for number in 0..count {
            let mut device = [0; 16];
            device[8..].copy_from_slice(&(number as u64 + 1).to_be_bytes());
            let handshake = gate.admit([127, 0, 0, 1].into(), Instant::now()).expect("there is room at the gate");
            let key = listeners.core.insert(handshake);
            let token = signer.sign(user, UNIX_S, 3_600);
            listeners.core.hear(key, hello(&token, DeviceId::from_random(device)));
            listeners.admit();
            listeners.keys.push(key);
        }
        assert_eq!(listeners.write(), count as u64, "each is welcomed");
        listeners
    }

    /// Answers what was asked of the router.
    fn admit(&mut self) {
        while let Some(up) = self.core.links.next_up() {
            let Up::Admit(asked) = up else { continue };
            let admission = Admission {
                start: Start::From,
                incarnation: Incarnation::default(),
                from: self.next,
                head: Seq(0),
                role: Role::Owner,
                visible_from: self.next,
                proof: Bytes::new(),
            };
            let (token, entity) = (asked.token, asked.entity);
            let admitted = Admitted { token, generation: GENERATION, entity, outcome: Ok(admission) };
            self.core.arrive(vec![Down::Admitted(admitted)]);
        }
    }

    /// So many events come down the link at once and leave to each of them; returns how many messages left.
    pub fn deliver(&mut self, event: &Bytes, count: u64) -> u64 {
        let event = |seq| LinkEvent { seq: Seq(seq), ends: None, event: event.clone() };
        let events = (self.next.0..self.next.0 + count).map(event).collect();
        self.next = Seq(self.next.0 + count);
        self.core.arrive(vec![Down::Events(Events { generation: GENERATION, entity: self.inbox, events })]);
        while self.core.slices.has_turns() {
            self.core.fan_out_on();
        }
        self.write()
    }

    fn write(&mut self) -> u64 {
        let mut sink = Sink { messages: 0 };
        for key in &self.keys {
            let flushed = self.core.flush(*key, &mut Context::from_waker(Waker::noop()), &mut sink);
            flushed.expect("the sink takes all");
        }
        sink.messages
    }
}

fn hello(token: &str, device: DeviceId) -> RawFrame {
    let auth = Auth::Token(token.into());
    let hello =
        Hello { version_min: 1, version_max: 1, capabilities: 0, auth, device, inbox: None, client: "bench".into() };
    let mut bytes = Frame::from(hello).to_bytes();
    next_frame(&mut bytes, HELLO_BYTES_MAX).ok().flatten().expect("a frame that was just made is one")
}

/// A transport that takes everything and keeps nothing.
struct Sink {
    messages: u64,
}

impl Transport for Sink {
    fn poll_recv(&mut self, _: &mut Context<'_>, _: usize) -> Poll<Result<RawFrame, TransportError>> {
        Poll::Pending
    }

    fn poll_send(&mut self, _: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        for outgoing in queue.drain(..) {
            std::hint::black_box(outgoing.websocket());
            self.messages += 1;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        Poll::Ready(())
    }
}
