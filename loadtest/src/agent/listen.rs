//! An agent: waits for a controller, does what it is told until the controller leaves, and waits for the next one.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

use super::proof::{Side, nonce};
use super::{Channel, Greeting, Opening, Order, PROTOCOL, Secret, Word};
use crate::engine::clock::{SECOND, now};
use crate::lean::Deck;
use crate::report::line;

/// Orders that wait; a controller that sends more waits, too.
const ORDERS_MAX: usize = 16;
/// How long a controller may take to say who it is.
const OPENING_MAX: u64 = 10 * SECOND;
/// What was seen is sent when so much of it waits, or a second is over.
const SEEN_A_LINE: usize = 2_000;

/// Why an agent cannot listen.
#[derive(Debug)]
pub enum ListenError {
    /// Anybody could send load from here.
    NoSecret(IpAddr),
    /// The address cannot be used.
    Address(SocketAddr, io::Error),
}

impl std::fmt::Display for ListenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSecret(address) => write!(
                f,
                "{address} can be reached from other machines: name a file with a secret that the controller has, too \
                 (--secret-file, or the variable PANDA_LOADTEST_SECRET)"
            ),
            Self::Address(address, error) => {
                write!(f, "{address} cannot be listened at: {error}; take another --listen")
            }
        }
    }
}

impl std::error::Error for ListenError {}

/// Serves controllers one after the other, for ever or, with `once`, one. Says its address on stdout first.
///
/// # Errors
/// [`ListenError`].
pub fn listen(address: SocketAddr, secret: Option<Secret>, once: bool) -> Result<(), ListenError> {
    let secret = match secret {
        Some(secret) => secret,
        None if address.ip().is_loopback() => Secret::new(NO_SECRET).unwrap_or_else(|_| Secret::random()),
        None => return Err(ListenError::NoSecret(address.ip())),
    };
    let failed = |error| ListenError::Address(address, error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    announce(bound).map_err(failed)?;
    for controller in listener.incoming() {
        let served = controller.and_then(Channel::new).and_then(|channel| serve(channel, &secret));
        match served {
            Ok(()) => {}
            Err(error) => line(format_args!("the controller is gone: {error}")),
        }
        if once {
            break;
        }
    }
    Ok(())
}

/// What agents that only this machine reaches share with a controller that names none.
pub(super) const NO_SECRET: &str = "an agent of this machine";

fn announce(address: SocketAddr) -> io::Result<()> {
    use io::Write as _;
    let mut out = io::stdout().lock();
    writeln!(out, "agent listens at {address}")?;
    out.flush()
}

fn serve(mut channel: Channel, secret: &Secret) -> io::Result<()> {
    if !greet(&mut channel, secret)? {
        return Ok(());
    }
    channel.set_patience(None)?;
    let mut words = channel.another()?;
    let (give, orders) = sync_channel(ORDERS_MAX);
    let reading = std::thread::spawn(move || {
        while let Ok(Some(order)) = channel.receive() {
            if give.send(order).is_err() {
                break;
            }
        }
    });
    let worked = work(&orders, &mut words);
    words.end();
    drop(orders);
    if reading.join().is_err() {
        line("the thread that takes orders ended early; this is a defect of the load tester");
    }
    worked
}

/// Whether the controller is taken.
fn greet(channel: &mut Channel, secret: &Secret) -> io::Result<bool> {
    let (version, nonce) = (env!("CARGO_PKG_VERSION").to_owned(), nonce());
    channel.send(&Greeting { protocol: PROTOCOL, version: version.clone(), nonce: nonce.clone() })?;
    let Some(opening) = channel.receive_opening::<Opening>(now() + OPENING_MAX)? else { return Ok(false) };
    let refusal = if (opening.protocol, &opening.version) != (PROTOCOL, &version) {
        Some(format!(
            "the agent is panda-loadtest {version} (agents {PROTOCOL}), the controller {} (agents {}); run one version",
            opening.version, opening.protocol
        ))
    } else if !secret.is_proven(Side::Controller, &nonce, &opening.proof) {
        Some("the controller does not have the agent's secret; give both the same --secret-file".to_owned())
    } else {
        None
    };
    if let Some(why) = refusal {
        line(format_args!("a controller was refused: {why}"));
        channel.send(&Word::Refused(why))?;
        return Ok(false);
    }
    channel.send(&Word::Welcome { proof: secret.prove(Side::Agent, &opening.nonce) })?;
    Ok(true)
}

/// Does what it is told until it is told to leave, or nobody is there to tell.
fn work(orders: &Receiver<Order>, words: &mut Channel) -> io::Result<()> {
    let Some(Order::Job(job)) = wait(orders) else { return Ok(()) };
    let deck = Deck::new(&job);
    let worked = deck.and_then(|mut deck| hold(&mut deck, orders, words));
    let Err(error) = worked else { return Ok(()) };
    words.send(&Word::Failed(format!("{error:#}")))
}

fn wait(orders: &Receiver<Order>) -> Option<Order> {
    loop {
        match orders.recv_timeout(Duration::from_secs(3_600)) {
            Ok(order) => return Some(order),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn hold(deck: &mut Deck, orders: &Receiver<Order>, words: &mut Channel) -> anyhow::Result<()> {
    let (mut told_ready, mut resting, mut opened) = (false, false, false);
    let mut seen = Vec::new();
    let mut next = now() + SECOND;
    loop {
        match if opened { orders.try_recv() } else { wait(orders).ok_or(TryRecvError::Disconnected) } {
            Ok(Order::Seats(seats)) => {
                seats.into_iter().try_for_each(|seat| deck.seat(seat))?;
                continue;
            }
            Ok(Order::Open) => {
                deck.open()?;
                opened = true;
            }
            Ok(Order::Go(pace)) => deck.go(pace),
            Ok(Order::Absent(percent)) => deck.leave_for_long(percent),
            Ok(Order::Back) => deck.come_back(),
            Ok(Order::Stall(percent)) => deck.stall(percent)?,
            Ok(Order::ReadOn) => deck.read_on()?,
            Ok(Order::Rest) => {
                deck.rest();
                resting = true;
            }
            Ok(Order::Leave) | Err(TryRecvError::Disconnected) => return Ok(()),
            Ok(Order::Job(_)) => anyhow::bail!("a second job came; an agent has one"),
            Err(TryRecvError::Empty) => {}
        }
        deck.turn()?;
        seen.append(&mut deck.seen());
        let (at, is_open) = (now(), deck.is_open());
        if at >= next || seen.len() >= SEEN_A_LINE {
            for some in std::mem::take(&mut seen).chunks(SEEN_A_LINE) {
                words.send(&Word::Seen(some.to_vec()))?;
            }
        }
        if at >= next {
            if let Some(why) = deck.why() {
                words.send(&Word::Lost(why))?;
            }
            words.send(&Word::Second(Box::new(deck.second())))?;
            next = at.max(next + SECOND);
        }
        if is_open && !told_ready {
            told_ready = true;
            words.send(&Word::Ready)?;
        }
        if resting && !deck.is_waiting() {
            resting = false;
            // What was answered is known to the controller before it waits for what is not delivered yet.
            seen.append(&mut deck.seen());
            for some in std::mem::take(&mut seen).chunks(SEEN_A_LINE) {
                words.send(&Word::Seen(some.to_vec()))?;
            }
            words.send(&Word::Rested)?;
        }
    }
}
