//! The sessions of one agent: opens them, keeps them alive, sends what is due, closes and opens some, and counts. One
//! thread, one epoll.

mod shares;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet, VecDeque};

use anyhow::{Context as _, Result};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::away::{Away, LIVED_S, back_off};
use super::pace::{Due, Pace, Queue};
use super::{Job, Lean, Place, Second, Seen, Wheel};
use crate::engine::clock::{SECOND, now, own_cpu};
use crate::engine::{Engine, Happened, Role, payload, tls};

/// No connection.
const NONE: u32 = u32::MAX;
/// Handshakes under way at a time while sessions are opened or churned. Those that come back do so when they must, all of them.
const OPENING_AT_ONCE: usize = 64;
/// The longest wait for the kernel, so that a turn looks at the clock.
const TURN: u64 = SECOND / 100;
/// The longest silence: whatever a server says, a session says something within two minutes.
const SILENCE_MAX_MS: u64 = 120_000;
/// From the first packet of a connection to a session that is subscribed: twice what a server gives a handshake by default.
const OPENING_MAX: u64 = 20 * SECOND;
/// Sessions that are looked at for one that may be churned now.
const PICKS: usize = 16;
/// How long what is due when the load ends may still leave.
const QUEUE_ENDS: u64 = 5 * SECOND;

/// See the module.
pub struct Deck {
    engine: Engine<Lean>,
    /// Of each connection, its seat.
    seat_of: Vec<u32>,
    /// Of each seat, its connection.
    connection_of: Vec<u32>,
    to_open: VecDeque<u32>,
    /// Lost ones, by when they connect again.
    again: BinaryHeap<Reverse<(u64, u32)>>,
    /// Connections that are not subscribed yet.
    opening: usize,
    /// When each of them must be, by its seat and its connection. In their order, because all have the same time.
    deadlines: VecDeque<(u64, u32, u32)>,
    /// Whether who is lost comes back at the time that clients' rules say, however many do.
    comes_back: bool,
    /// Lost ones that are not back.
    away: HashSet<u32>,
    /// Those that left and come back when they are told to.
    absent: HashSet<u32>,
    /// Those of them that were told to, and have not all yet that they missed.
    catching_up: HashSet<u32>,
    caught_up_us: BTreeMap<u64, u64>,
    read_up_us: BTreeMap<u64, u64>,
    wheel: Wheel,
    pace: Option<(Due, Due)>,
    queue: Queue,
    /// Since when nothing new is sent.
    resting: Option<u64>,
    random: StdRng,
    servers: u16,
    happened: Vec<Happened>,
    ack_us: BTreeMap<u64, u64>,
    delivery_us: BTreeMap<u64, u64>,
    late_us: BTreeMap<u64, u64>,
    lost_at_ms: BTreeMap<u64, u64>,
    back_at_ms: BTreeMap<u64, u64>,
    cpu: (u64, f64),
    /// Why the last connection was lost.
    why: Option<String>,
}

impl Deck {
    /// Of an agent.
    ///
    /// # Errors
    /// The kernel has no epoll left.
    pub fn new(job: &Job) -> Result<Self> {
        let tls = job.tls.then(|| tls::Connector::of_sessions(job.sessions)).transpose()?;
        let mut engine = Engine::over(&job.servers, Box::new(Lean::new(job)), tls)?;
        engine.receive_at_most(job.receive_bytes);
        Ok(Self {
            engine,
            seat_of: Vec::new(),
            connection_of: Vec::new(),
            to_open: VecDeque::new(),
            again: BinaryHeap::new(),
            opening: 0,
            deadlines: VecDeque::new(),
            comes_back: job.comes_back,
            away: HashSet::new(),
            absent: HashSet::new(),
            catching_up: HashSet::new(),
            caught_up_us: BTreeMap::new(),
            read_up_us: BTreeMap::new(),
            wheel: Wheel::default(),
            pace: None,
            queue: Queue::default(),
            resting: None,
            random: StdRng::seed_from_u64(u64::from(job.agent)),
            servers: u16::try_from(job.servers.len()).context("more servers than 65,535")?,
            happened: Vec::new(),
            ack_us: BTreeMap::new(),
            delivery_us: BTreeMap::new(),
            late_us: BTreeMap::new(),
            lost_at_ms: BTreeMap::new(),
            back_at_ms: BTreeMap::new(),
            cpu: (now(), own_cpu()),
            why: None,
        })
    }

    /// Adds a session, which is opened by [`Self::open`].
    ///
    /// # Errors
    /// It cannot be one.
    pub fn seat(&mut self, place: Place) -> Result<()> {
        self.engine.driver().add(place)
    }

    /// From now on sessions are opened.
    ///
    /// # Errors
    /// More of them than are counted.
    pub fn open(&mut self) -> Result<()> {
        let seats = u32::try_from(self.engine.driver().seats().len())?;
        self.connection_of = vec![NONE; seats as usize];
        self.to_open = (0..seats).collect();
        Ok(())
    }

    /// Whether every session is subscribed.
    pub fn is_open(&mut self) -> bool {
        let Self { engine, connection_of, .. } = self;
        engine.driver().second.connected == connection_of.len() as u64
    }

    /// From now on sessions send and are churned so.
    pub fn go(&mut self, Pace { sends, churn }: Pace) {
        let due = |a_second| Due { began: now(), a_second, done: 0 };
        self.pace = Some((due(sends), due(churn)));
    }

    /// Nothing new is sent, and nothing churned, any more. What is due already has `QUEUE_ENDS` to leave.
    pub fn rest(&mut self) {
        self.pace = None;
        self.resting = Some(now());
    }

    /// Whether a send waits for its answer, or to leave.
    pub fn is_waiting(&mut self) -> bool {
        !self.queue.is_empty() || self.engine.driver().is_waiting()
    }

    /// One turn: does what is due, waits for at most a hundredth of a second, takes what came.
    ///
    /// # Errors
    /// The kernel has no socket, file or port left: the harness is the limit.
    pub fn turn(&mut self) -> Result<()> {
        self.connect()?;
        self.end_late();
        self.beat();
        self.work()?;
        self.engine.flush();
        let mut happened = std::mem::take(&mut self.happened);
        let wait = self.wait(now());
        self.engine.poll(wait, &mut happened)?;
        for each in happened.drain(..) {
            self.take(each);
        }
        self.happened = happened;
        let at = now();
        for seat in std::mem::take(&mut self.engine.driver().caught_up) {
            let connection = self.engine.connection(self.connection_of[seat as usize]);
            if let Some(began) = connection.map(|connection| connection.started)
                && self.catching_up.remove(&seat)
            {
                *self.caught_up_us.entry(micros(at, began)).or_default() += 1;
            }
        }
        for since in std::mem::take(&mut self.engine.driver().read_up) {
            *self.read_up_us.entry(micros(at, since)).or_default() += 1;
        }
        for due in std::mem::take(&mut self.engine.driver().acks) {
            *self.ack_us.entry(micros(at, due)).or_default() += 1;
        }
        Ok(())
    }

    /// How long nothing is due, at most [`TURN`]: a send that is due within a turn must not wait for its end.
    fn wait(&self, at: u64) -> u64 {
        let has_seats = !self.connection_of.is_empty();
        // A churn that is late waits for a session that can be closed: looking again at once would only spin.
        let dues = self.pace.iter().flat_map(|(sends, churn)| {
            [sends.at().filter(|_| has_seats), churn.at().filter(|&due| due > at)].into_iter().flatten()
        });
        let again = self.again.peek().map(|Reverse((due, _))| *due);
        dues.chain(again).map(|due| due.saturating_sub(at)).fold(TURN, u64::min)
    }

    /// What was seen since the last call.
    pub fn seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.engine.driver().seen)
    }

    /// Why the last connection was lost that was, since the last call.
    pub fn why(&mut self) -> Option<String> {
        self.why.take()
    }

    /// What was counted since the last call.
    pub fn second(&mut self) -> Second {
        let driver = self.engine.driver();
        let Second { connected, stalled, .. } = driver.second;
        let mut second = std::mem::replace(&mut driver.second, Second { connected, stalled, ..Second::default() });
        let list = |times: &mut BTreeMap<u64, u64>| std::mem::take(times).into_iter().collect();
        second.ack_us = list(&mut self.ack_us);
        second.delivery_us = list(&mut self.delivery_us);
        second.late_us = list(&mut self.late_us);
        second.caught_up_us = list(&mut self.caught_up_us);
        second.read_up_us = list(&mut self.read_up_us);
        second.lost_at_ms = list(&mut self.lost_at_ms);
        second.back_at_ms = list(&mut self.back_at_ms);
        second.waiting = self.engine.driver().waiting();
        let (at, cpu) = (now(), own_cpu());
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share"
        )]
        let share = ((cpu - self.cpu.1) / ((at - self.cpu.0).max(1) as f64 / SECOND as f64) * 1_000.0) as u32;
        (second.cpu_permille, self.cpu) = (share, (at, cpu));
        second
    }

    fn connect(&mut self) -> Result<()> {
        let at = now();
        while let Some(&Reverse((due, seat))) = self.again.peek()
            && due <= at
        {
            self.again.pop();
            if self.comes_back {
                self.dial(seat, at)?;
            } else {
                self.to_open.push_back(seat);
            }
        }
        while self.opening < OPENING_AT_ONCE
            && let Some(seat) = self.to_open.pop_front()
        {
            self.dial(seat, at)?;
        }
        Ok(())
    }

    fn dial(&mut self, seat: u32, at: u64) -> Result<()> {
        let server = self.engine.driver().seats()[seat as usize].server;
        let id = self.engine.connect_to(server, Role::Subscriber, seat)?;
        if self.seat_of.len() <= id as usize {
            self.seat_of.resize(id as usize + 1, NONE);
        }
        self.seat_of[id as usize] = seat;
        self.connection_of[seat as usize] = id;
        self.opening += 1;
        self.deadlines.push_back((at + OPENING_MAX, seat, id));
        Ok(())
    }

    /// Ends connections that did not become sessions in their time: a server that says nothing keeps nobody.
    fn end_late(&mut self) {
        let at = now();
        while let Some(&(due, seat, id)) = self.deadlines.front() {
            let is_done =
                self.connection_of[seat as usize] != id || self.engine.driver().seats()[seat as usize].is_ready;
            let is_late = due <= at;
            if !is_done && !is_late {
                return;
            }
            self.deadlines.pop_front();
            // A number may be another connection of the seat by now, which began later.
            let began = self.engine.connection(id).map_or(0, |connection| connection.started);
            if !is_done && began + OPENING_MAX <= at {
                self.engine.close(id);
                self.lost(id, &anyhow::Error::msg("the server made no session of it in time"));
            }
        }
    }

    /// Heartbeats, and the end of who was silent for too long.
    fn beat(&mut self) {
        let at = now();
        while let Some(turn) = self.wheel.next_due(at) {
            let (id, limit_s) = (self.connection_of[turn.seat as usize], self.silence_ms() * 2 / 1_000);
            let driver = self.engine.driver();
            let seat = &driver.seats()[turn.seat as usize];
            if !seat.is_ready || seat.round != turn.round {
                continue;
            }
            let heard_s = u64::from(seat.heard_s);
            // Who reads nothing cannot know whether the server is silent.
            if at / SECOND > heard_s + limit_s && !driver.is_stalled(turn.seat) {
                self.engine.close(id);
                self.lost(id, &anyhow::Error::msg("the server was silent for twice its heartbeat"));
                continue;
            }
            // A connection that broke meanwhile is told by the next poll.
            if self
                .engine
                .say(id, |driver, _, out| {
                    driver.ping(out);
                    Ok(())
                })
                .is_ok()
            {
                self.wheel.begin(at, turn.seat, turn.round);
            }
        }
    }

    fn silence_ms(&mut self) -> u64 {
        self.engine.driver().heartbeat_ms().min(SILENCE_MAX_MS)
    }

    fn work(&mut self) -> Result<()> {
        let at = now();
        for seat in std::mem::take(&mut self.engine.driver().freed) {
            self.send_waiting(seat)?;
        }
        if self.resting.is_some_and(|since| at > since + QUEUE_ENDS) {
            self.engine.driver().second.unsent += self.queue.clear();
        }
        let Some((mut sends, mut churn)) = self.pace else { return Ok(()) };
        let seats = u32::try_from(self.connection_of.len())?;
        while seats > 0
            && let Some(due) = sends.next(at)
        {
            let seat = self.random.random_range(0..seats);
            if self.absent.contains(&seat) || self.engine.driver().is_stalled(seat) {
                // Who is not there has nothing to say, and who reads nothing would not hear the answer.
                continue;
            }
            if self.queue.has(seat) || !self.engine.driver().may_send(seat) {
                // What waits for its session is late by the server, not by this process.
                let is_queued = self.queue.push(seat, due);
                self.engine.driver().second.unsent += u64::from(!is_queued);
                continue;
            }
            self.send(seat, due)?;
            *self.late_us.entry(micros(now(), due)).or_default() += 1;
        }
        while let Some(seat) = self.pick()
            && churn.next(at).is_some()
        {
            let id = self.connection_of[seat as usize];
            self.engine.close(id);
            self.leave(id);
            self.engine.driver().second.churned += 1;
            self.to_open.push_back(seat);
        }
        self.pace = Some((sends, churn));
        Ok(())
    }

    /// A seat is free: the oldest of what is due leaves.
    fn send_waiting(&mut self, seat: u32) -> Result<()> {
        if !self.engine.driver().may_send(seat) {
            return Ok(());
        }
        self.queue.pop(seat).map_or(Ok(()), |due| self.send(seat, due))
    }

    fn send(&mut self, seat: u32, due: u64) -> Result<()> {
        let id = self.connection_of[seat as usize];
        let slot = self.random.random_range(0..2);
        self.engine.publish(id, slot, &payload::write(due), false, due)
    }

    /// A random session that is open and waits for nothing.
    fn pick(&mut self) -> Option<u32> {
        let seats = u32::try_from(self.connection_of.len()).ok().filter(|&seats| seats > 0)?;
        let Self { random, engine, .. } = self;
        (0..PICKS).map(|_| random.random_range(0..seats)).find(|&seat| engine.driver().may_send(seat))
    }

    fn take(&mut self, happened: Happened) {
        match happened {
            Happened::Ready { id } => {
                self.opening -= 1;
                let seat = self.seat_of[id as usize];
                let round = self.engine.driver().seats()[seat as usize].round;
                if self.away.remove(&seat) {
                    self.engine.driver().second.reconnects += 1;
                    *self.back_at_ms.entry(now() / (SECOND / 1_000)).or_default() += 1;
                }
                // Below the limit by a fifth, so that a late turn is early enough.
                let wait = self.silence_ms() * 1_000_000 / 5 * 4;
                self.wheel.set_wait(wait);
                self.wheel.begin(now(), seat, round);
            }
            Happened::Delivery { due, at, .. } => *self.delivery_us.entry(micros(at, due)).or_default() += 1,
            Happened::Ack { .. } => {}
            Happened::Closed { id, why } => self.lost(id, &why),
        }
    }

    /// A connection is gone, unasked; its session goes to another server, as a balancer between would send it.
    fn lost(&mut self, id: u32, why: &anyhow::Error) {
        let Some((seat, was_ready)) = self.leave(id) else { return };
        let (at, servers) = (now(), self.servers);
        let other = if servers > 1 { self.random.random_range(1..servers) } else { 0 };
        let driver = self.engine.driver();
        let place = &mut driver.seats()[seat as usize];
        let server = place.server;
        place.server = (server + other) % servers;
        if was_ready && at / SECOND >= u64::from(place.ready_s) + LIVED_S {
            place.attempt = 0;
        }
        let attempt = place.attempt;
        place.attempt = attempt.saturating_add(1);
        *driver.second.lost.entry(server).or_default() += 1;
        driver.second.failed += u64::from(!was_ready);
        if was_ready {
            *self.lost_at_ms.entry(at / (SECOND / 1_000)).or_default() += 1;
        }
        self.why = Some(format!("{why:#}"));
        self.away.insert(seat);
        let wait = back_off(attempt, why.downcast_ref::<Away>(), &mut self.random);
        self.again.push(Reverse((at + wait, seat)));
    }

    /// Of a connection that is gone, its seat and whether that was subscribed.
    fn leave(&mut self, id: u32) -> Option<(u32, bool)> {
        let seat = std::mem::replace(self.seat_of.get_mut(id as usize)?, NONE);
        if seat == NONE {
            return None;
        }
        self.connection_of[seat as usize] = NONE;
        let driver = self.engine.driver();
        let was_ready = driver.seats()[seat as usize].is_ready;
        self.opening -= usize::from(!was_ready);
        driver.gone(seat);
        Some((seat, was_ready))
    }
}

fn micros(at: u64, due: u64) -> u64 {
    at.saturating_sub(due) / 1_000
}

#[cfg(test)]
mod tests;
