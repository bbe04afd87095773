//! A worker's loop: accepts, moves what goes up and down the link, turns the wheel, stops.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use panda_access::{AccessKeys, FleetSecret, RevocationWatch, Revocations};
use panda_link::{LinkLimits, Links};
use panda_protocol::Time;
use panda_protocol::link::{Down, Up};
use panda_storage::command_log::CommandLog;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::{spawn_local, yield_now};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::wheel::TURN_MS;
use super::{Core, CoreParts};
use crate::admission::{Gate, Handshake};
use crate::alarm::Alarm;
use crate::config::{SessionLimits, WorkerLink};
use crate::edge::EdgeError;
use crate::metrics::EdgeMetrics;
use crate::session::{Connection, SessionTask};
use crate::transport::handover::HandedOver;
use crate::transport::quic::{QuicDriver, QuicIncoming, QuicListener};
use crate::transport::tls::Identity;
use crate::transport::websocket::{self, Accepted, WebSocketRules};

/// How long accepting rests after the system refused a socket, so that a full table of files does not
/// become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long goodbyes may take at the end of a stop.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// Time is looked at so often where nothing waits for it.
const REST: Duration = Duration::from_secs(5);

/// What a worker is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command {
    /// Take no more connections, ask the sessions to leave within this time, then end.
    Stop(Duration),
}

/// What a worker is made of.
pub(crate) struct WorkerParts<L: CommandLog> {
    pub(crate) log: L,
    pub(crate) link: WorkerLink,
    pub(crate) link_limits: LinkLimits,
    pub(crate) limits: SessionLimits,
    pub(crate) keys: AccessKeys,
    pub(crate) revocations: Revocations,
    pub(crate) fleet: FleetSecret,
    pub(crate) clock: fn() -> Time,
    pub(crate) metrics: EdgeMetrics,
    pub(crate) gate: Gate,
    pub(crate) rules: WebSocketRules,
    pub(crate) handed_over: mpsc::Sender<HandedOver>,
    pub(crate) tcp: std::net::TcpListener,
    pub(crate) quic: Option<(SocketAddr, Identity)>,
    pub(crate) alarm: Alarm,
}

/// A worker whose sockets are registered with its thread's runtime.
pub(crate) struct Bound<L: CommandLog> {
    parts: WorkerParts<L>,
    tcp: TcpListener,
    quic: Option<(Rc<QuicListener>, QuicDriver)>,
}

/// Binds a worker's sockets in the calling thread's runtime; also says where QUIC is.
pub(crate) fn bind<L: CommandLog>(mut parts: WorkerParts<L>) -> Result<(Bound<L>, Option<SocketAddr>), EdgeError> {
    let tcp = parts.tcp.try_clone().and_then(TcpListener::from_std).map_err(EdgeError::Thread)?;
    let Some((address, identity)) = parts.quic.take() else {
        return Ok((Bound { parts, tcp, quic: None }, None));
    };
    let failed = |error| EdgeError::Listen { address, what: "QUIC", error };
    let panics = parts.metrics.panics.clone();
    let (quic, driver) = QuicListener::bind(address, &identity, &parts.fleet, panics).map_err(failed)?;
    let address = quic.local_addr().map_err(failed)?;
    Ok((Bound { parts, tcp, quic: Some((Rc::new(quic), driver)) }, Some(address)))
}

/// What new connections need.
struct Accepting<L: CommandLog> {
    core: Rc<RefCell<Core<L>>>,
    gate: Gate,
    rules: WebSocketRules,
    metrics: EdgeMetrics,
    handed_over: mpsc::Sender<HandedOver>,
    /// Nobody serves sessions any more; the thread may go on for others.
    over: Cell<bool>,
}

impl<L: CommandLog> Bound<L> {
    /// Runs the worker until it is told to stop. Must be called inside a `LocalSet`.
    pub(crate) async fn run(self, mut commands: mpsc::Receiver<Command>) {
        let Self { parts, tcp, quic } = self;
        let stirred = Rc::new(Notify::new());
        // Before anybody comes: whoever is here when a login ends is looked for.
        let watch = parts.revocations.watch();
        let WorkerLink { link, lane, up, mut down } = parts.link;
        let core = Rc::new(RefCell::new(Core::new(CoreParts {
            links: Links::new(parts.log, link, lane, parts.link_limits),
            limits: parts.limits,
            keys: parts.keys,
            revocations: parts.revocations.clone(),
            fleet: parts.fleet,
            metrics: parts.metrics.clone(),
            clock: parts.clock,
            stirred: Rc::clone(&stirred),
        })));
        let accepting = Rc::new(Accepting {
            core: Rc::clone(&core),
            gate: parts.gate,
            rules: parts.rules,
            metrics: parts.metrics,
            handed_over: parts.handed_over,
            over: Cell::new(false),
        });
        let revoking = spawn_local(revoke(Rc::clone(&core), watch, parts.alarm.clone()));
        let tcp = spawn_local(accept_tcp(Rc::clone(&accepting), tcp, parts.alarm.clone()));
        let (quic, quic_task) = quic.map_or((None, None), |(quic, driver)| {
            spawn_local(drive_quic(driver, parts.alarm.clone()));
            let accepts = accept_quic(Rc::clone(&accepting), Rc::clone(&quic), parts.alarm.clone());
            (Some(quic), Some(spawn_local(accepts)))
        });
        let drain = serve_until_stop(&core, &up, &mut down, &mut commands, &stirred).await;
        tcp.abort();
        // It is the same socket: the kernel would go on to connect clients whom nobody accepts.
        drop(parts.tcp);
        if let Some(quic) = &quic {
            quic.refuse_all();
        }
        stop(&core, &up, &mut down, &stirred, drain).await;
        revoking.abort();
        accepting.over.set(true);
        if let Some(quic) = quic {
            // Whoever does not confirm a goodbye in time is not waited for.
            timeout(GOODBYE_TIMEOUT, quic.wait_idle()).await.unwrap_or_default();
        }
        if let Some(task) = quic_task {
            task.abort();
        }
    }
}

/// The worker's life; returns how long its end may take.
pub(super) async fn serve_until_stop<L: CommandLog>(
    core: &RefCell<Core<L>>,
    up: &mpsc::Sender<Up>,
    down: &mut mpsc::Receiver<Vec<Down>>,
    commands: &mut mpsc::Receiver<Command>,
    stirred: &Notify,
) -> Duration {
    let mut turn = pin!(sleep(Duration::ZERO));
    let mut turned = Instant::now();
    let mut due = Vec::new();
    loop {
        core.borrow_mut().fan_out_on();
        hear_appends(core).await;
        send_up(core, up);
        let (has_up, has_turns, has_room, next_turn) = {
            let core = core.borrow();
            (core.links.has_up(), core.slices.has_turns(), core.slices.has_room(), core.next_turn(turned))
        };
        // One that is later than it was is found out then: under load it is with every answer.
        if next_turn < turn.deadline() {
            turn.as_mut().reset(next_turn);
        }
        tokio::select! {
            biased;
            command = commands.recv() => match command {
                Some(Command::Stop(drain)) => return drain,
                None => return Duration::ZERO,
            },
            () = turn.as_mut() => {
                let mut core = core.borrow_mut();
                core.turn(&mut due);
                turned = Instant::now();
                turn.as_mut().reset(core.next_turn(turned));
            }
            batch = down.recv(), if has_room => match batch {
                Some(batch) => {
                    core.borrow_mut().arrive(batch);
                    // Sessions write what came before the next batch is looked at.
                    yield_now().await;
                }
                // The routers are gone: what waits runs out, and new commands are refused.
                None => sleep(Duration::from_millis(TURN_MS)).await,
            },
            failed = poll_fn(|cx| core.borrow_mut().links.poll_failed(cx)) => core.borrow_mut().take(failed),
            permit = up.reserve(), if has_up => {
                let next = core.borrow_mut().links.next_up();
                if let (Ok(permit), Some(next)) = (permit, next) {
                    permit.send(next);
                }
            }
            () = stirred.notified() => {}
            () = yield_now(), if has_turns => {}
        }
    }
}

impl<L: CommandLog> Core<L> {
    /// When the wheel is to be turned that was at `turned`: once something is due, and not at once again.
    fn next_turn(&self, turned: Instant) -> Instant {
        let rested = turned + REST;
        let due = self.next_turn_ms().map_or(rested, |next_ms| self.started + Duration::from_millis(next_ms));
        due.clamp(turned + Duration::from_millis(TURN_MS), rested)
    }
}

/// Takes what became of appends, without waiting for any. Where something always comes down, nothing else
/// would: who sent a command that failed would learn it late, and what was appended would pile up.
async fn hear_appends<L: CommandLog>(core: &RefCell<Core<L>>) {
    while let Poll::Ready(failed) = poll_fn(|cx| Poll::Ready(core.borrow_mut().links.poll_failed(cx))).await {
        core.borrow_mut().take(failed);
    }
}

fn send_up<L: CommandLog>(core: &RefCell<Core<L>>, up: &mpsc::Sender<Up>) {
    let mut core = core.borrow_mut();
    while core.links.has_up() {
        let Ok(permit) = up.try_reserve() else { return };
        if let Some(next) = core.links.next_up() {
            permit.send(next);
        }
    }
}

/// Serves on while the sessions leave, and then says goodbye to the rest.
async fn stop<L: CommandLog>(
    core: &RefCell<Core<L>>,
    up: &mpsc::Sender<Up>,
    down: &mut mpsc::Receiver<Vec<Down>>,
    stirred: &Notify,
    drain: Duration,
) {
    core.borrow_mut().go_away(u64::try_from(drain.as_millis()).unwrap_or(u64::MAX));
    let ends = Instant::now() + drain;
    let mut said_goodbye = false;
    let mut tick = interval(Duration::from_millis(TURN_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = Vec::new();
    while !core.borrow().is_done() {
        let now = Instant::now();
        if now >= ends && !said_goodbye {
            core.borrow_mut().end_all();
            said_goodbye = true;
        }
        if now >= ends + GOODBYE_TIMEOUT {
            return;
        }
        core.borrow_mut().fan_out_on();
        hear_appends(core).await;
        send_up(core, up);
        let (has_turns, has_room) = {
            let core = core.borrow();
            (core.slices.has_turns(), core.slices.has_room())
        };
        tokio::select! {
            Some(batch) = down.recv(), if has_room => core.borrow_mut().arrive(batch),
            failed = poll_fn(|cx| core.borrow_mut().links.poll_failed(cx)) => core.borrow_mut().take(failed),
            _ = tick.tick() => core.borrow_mut().turn(&mut due),
            () = stirred.notified() => {}
            () = yield_now(), if has_turns => {}
        }
    }
    send_up(core, up);
}

/// Beside the worker's loop, which turns for every batch of events: all workers wait on one lock here.
async fn revoke<L: CommandLog>(core: Rc<RefCell<Core<L>>>, mut watch: RevocationWatch, _alarm: Alarm) {
    loop {
        let heard = watch.next().await;
        core.borrow_mut().login_ended(heard);
    }
}

async fn accept_tcp<L: CommandLog>(accepting: Rc<Accepting<L>>, listener: TcpListener, _alarm: Alarm) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match accepting.gate.admit(peer.ip(), Instant::now()) {
                Ok(handshake) => {
                    spawn_local(open_tcp(Rc::clone(&accepting), stream, peer, handshake));
                }
                Err(refusal) => websocket::refuse(stream, refusal, &accepting.rules),
            },
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn open_tcp<L: CommandLog>(
    accepting: Rc<Accepting<L>>,
    stream: TcpStream,
    peer: SocketAddr,
    handshake: Handshake,
) {
    match websocket::accept(stream, peer, handshake, &accepting.rules).await {
        Accepted::WebSocket(socket, handshake) => serve(&accepting, socket, handshake),
        Accepted::Http(handed) => {
            if let Err(refused) = accepting.handed_over.try_send(handed) {
                // Before the peer sees that it is closed.
                accepting.metrics.handover_dropped.inc();
                drop(refused);
            }
        }
        Accepted::Ended => {}
    }
}

async fn drive_quic(driver: QuicDriver, _alarm: Alarm) {
    driver.await;
}

async fn accept_quic<L: CommandLog>(accepting: Rc<Accepting<L>>, listener: Rc<QuicListener>, _alarm: Alarm) {
    while let Some(incoming) = listener.accept(&accepting.gate).await {
        spawn_local(open_quic(Rc::clone(&accepting), incoming));
    }
}

async fn open_quic<L: CommandLog>(accepting: Rc<Accepting<L>>, incoming: QuicIncoming) {
    if let Some((transport, handshake)) = incoming.establish().await {
        serve(&accepting, transport, handshake);
    }
}

/// The handshake's task ends here, so that its memory does not live as long as the session.
fn serve<L: CommandLog>(accepting: &Accepting<L>, transport: impl Connection + 'static, handshake: Handshake) {
    if accepting.over.get() {
        return;
    }
    let key = accepting.core.borrow_mut().insert(handshake);
    spawn_local(SessionTask::new(Rc::clone(&accepting.core), key, transport));
}
