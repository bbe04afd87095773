//! A worker's core over a scripted router and transports that take as much as the test lets them.

mod appends;
mod devices;
mod draining;
mod logs;
mod model;
mod readmissions;
mod requests;
mod revocations;
mod router;
mod sessions;
mod withheld;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use panda_access::{AccessKeys, FleetSecret, Revocations, Signer, SigningKey};
use panda_link::{LinkLimits, Links};
use panda_protocol::frame::{Auth, Frame, Hello};
use panda_protocol::framing::{RawFrame, next_frame};
use panda_protocol::limits::FRAME_BYTES_MAX;
use panda_protocol::link::{LinkId, Up};
use panda_protocol::{DeviceId, ErrorCode, Time, UserId};
use panda_storage::embedded::EmbeddedLog;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Core, CoreParts};
use crate::admission::{AdmissionLimits, Gate};
use crate::config::SessionLimits;
use crate::metrics::EdgeMetrics;
use crate::session::{Connection, SessionKey};
use crate::transport::{Outgoing, Transport, TransportError};

const UNIX_S: u64 = 1_000_000;

fn clock() -> Time {
    Time(UNIX_S * 1_000_000)
}

/// What the peer of a [`Pipe`] has to say, and what it took.
#[derive(Default)]
struct Peer {
    said: VecDeque<RawFrame>,
    took: VecDeque<Frame>,
    /// In how many messages.
    messages: usize,
    /// Bytes that it takes before it takes no more.
    room: usize,
    /// Reading from it panics.
    breaks: bool,
    pages: Option<Pipe>,
    waker: Option<Waker>,
}

/// A transport that never waits for the network.
#[derive(Clone, Default)]
struct Pipe(Rc<RefCell<Peer>>);

impl Transport for Pipe {
    fn poll_recv(&mut self, cx: &mut Context<'_>, _: usize) -> Poll<Result<RawFrame, TransportError>> {
        let mut peer = self.0.borrow_mut();
        assert!(!peer.breaks, "a transport with a defect");
        match peer.said.pop_front() {
            Some(frame) => Poll::Ready(Ok(frame)),
            None => {
                peer.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut VecDeque<Outgoing>) -> Poll<Result<(), TransportError>> {
        let mut peer = self.0.borrow_mut();
        while let Some(next) = queue.front() {
            if next.len() > peer.room {
                peer.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
            peer.room -= next.len();
            peer.messages += 1;
            let mut bytes = next.frames();
            while let Some(raw) = next_frame(&mut bytes, FRAME_BYTES_MAX).unwrap() {
                peer.took.push_back(Frame::decode(raw).unwrap().unwrap());
            }
            queue.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>, _: ErrorCode) -> Poll<()> {
        Poll::Ready(())
    }
}

impl Connection for Pipe {
    type Pages = Self;

    fn poll_pages(&mut self, _: &mut Context<'_>) -> Poll<Result<Self, TransportError>> {
        self.0.borrow_mut().pages.take().map_or(Poll::Pending, |pages| Poll::Ready(Ok(pages)))
    }
}

fn raw(frame: impl Into<Frame>) -> RawFrame {
    next_frame(&mut frame.into().to_bytes(), FRAME_BYTES_MAX).unwrap().unwrap()
}

/// A core with nobody connected.
struct Fixture {
    core: Core<EmbeddedLog>,
    gate: Gate,
    signer: Signer,
}

impl Fixture {
    fn new(limits: SessionLimits) -> Self {
        let key = SigningKey::generate().unwrap();
        let gate = Gate::new(AdmissionLimits::default());
        let log = EmbeddedLog::new(1, 1, clock);
        let core = Core::new(CoreParts {
            links: Links::new(log, LinkId(1), 0, LinkLimits::default()),
            limits,
            keys: AccessKeys::new([key.verifying_key().clone()]),
            revocations: Revocations::new(),
            fleet: FleetSecret::generate().unwrap(),
            metrics: EdgeMetrics::new(gate.clone()),
            clock,
            stirred: Rc::new(Notify::new()),
        });
        Self { core, gate, signer: Signer::new(&key) }
    }

    /// A connection whose Hello was heard; the inbox's admission is on its way up.
    fn connect(&mut self, user: UserId) -> SessionKey {
        self.connect_as(user, DeviceId::from_random(rand::random()))
    }

    fn connect_as(&mut self, user: UserId, device: DeviceId) -> SessionKey {
        let token = self.signer.sign(user, UNIX_S, 3_600);
        self.connect_with(Auth::Token(token.into()), device)
    }

    fn connect_with(&mut self, auth: Auth, device: DeviceId) -> SessionKey {
        let handshake = self.gate.admit([127, 0, 0, 1].into(), Instant::now()).unwrap();
        let key = self.core.insert(handshake);
        let hello =
            Hello { version_min: 1, version_max: 1, capabilities: 0, auth, device, inbox: None, client: "test".into() };
        self.core.hear(key, raw(hello));
        key
    }

    fn hear(&mut self, key: SessionKey, frame: impl Into<Frame>) {
        self.core.hear(key, raw(frame));
    }

    /// Lets the peer take up to `room` bytes of what waits.
    fn take(&mut self, key: SessionKey, room: usize) -> Vec<Frame> {
        let mut pipe = Pipe::default();
        pipe.0.borrow_mut().room = room;
        self.core.flush(key, &mut Context::from_waker(Waker::noop()), &mut pipe).unwrap();
        self.core.refill(key);
        let took = std::mem::take(&mut pipe.0.borrow_mut().took);
        took.into()
    }

    fn take_all(&mut self, key: SessionKey) -> Vec<Frame> {
        self.take(key, usize::MAX)
    }

    fn ups(&mut self) -> Vec<Up> {
        std::iter::from_fn(|| self.core.links.next_up()).collect()
    }
}

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}
