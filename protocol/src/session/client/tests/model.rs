//! A server that drops connections, loses answers, applies copies of dropped connections late, refuses
//! for a while or for good, asks the client to move, and loses or repeats events. Its user leaves chats and comes
//! back to them. The client must bring every command through once and in order, and pass every event on once and in order.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use super::*;
use crate::event::{Digest, Event, EventBody, MessageFormat};
use crate::frame::{
    Ack, Command, CommandBody, EventFrame, GoAway, InboxState, Start, Subscribed, SyncEntry, Synced, SyncedEntry,
    Unsubscribed, command_digest,
};
use crate::ids::{Counter, Seq, Time};

const CHATS: u64 = 3;
const COMMANDS: u64 = 200;
/// Those that are submitted while the server has faults. Behind the others nothing but the client itself heals
/// what it does wrong.
const COMMANDS_IN_TROUBLE: u64 = 150;
const INCARNATION: Incarnation = Incarnation([7; 8]);

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

fn nth_chat(n: u64) -> ChatId {
    ChatId::group(user(), device(), Counter(1_000_000 + n))
}

/// What was applied to an entity: (counter, digest, text). The seq is the index from 1.
type Applied = Vec<(Counter, Digest, Text)>;

#[derive(Default)]
struct Connection {
    alive: bool,
    /// Commands that the log has not seen yet.
    appended: VecDeque<Command>,
    out: VecDeque<Frame>,
    /// The next seq to send of each chat that is subscribed to, and of the inbox.
    sending: BTreeMap<EntityId, u64>,
    unanswered: BTreeMap<EntityId, usize>,
}

struct Server {
    random: Random,
    faults: bool,
    chats: BTreeMap<EntityId, Applied>,
    inbox: u64,
    connections: Vec<Connection>,
    moves: usize,
}

impl Server {
    fn connect(&mut self) {
        self.connections.push(Connection { alive: true, ..Connection::default() });
    }

    fn drop_connection(&mut self) {
        if let Some(last) = self.connections.last_mut() {
            last.alive = false;
            last.out.clear();
        }
    }

    /// The client closes the one that it had first.
    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.connections.iter_mut().find(|of| of.alive) {
            oldest.alive = false;
            oldest.out.clear();
        }
    }

    fn ask_to_move(&mut self) {
        let delay_ms = self.random.below(50);
        let goaway =
            GoAway { code: 1000, delay_ms, closes_in_ms: 1_000, address: Text::default(), ticket: Bytes::new() };
        if let Some(last) = self.connections.last_mut().filter(|last| last.alive && !last.sending.is_empty()) {
            last.out.push_back(goaway.into());
            self.moves += 1;
        }
    }

    fn head(&self, entity: EntityId) -> u64 {
        if entity.inbox().is_some() { self.inbox } else { self.chats.get(&entity).map_or(0, Vec::len) as u64 }
    }

    fn admit(&mut self, entry: &SyncEntry) -> Result<Admission, (u16, u64)> {
        if self.faults && self.random.one_in(6) {
            return Err((ErrorCode::Unavailable as u16, 20));
        }
        let entity = entry.chat.into();
        let head = self.head(entity);
        let (start, from) = match entry.cursor {
            Some(cursor) => {
                assert!(cursor.incarnation == INCARNATION && cursor.seq.0 <= head);
                (Start::From, cursor.seq.0 + 1)
            }
            None => (Start::Live, head + 1),
        };
        self.connections.last_mut().unwrap().sending.insert(entity, from);
        Ok(admission(start, INCARNATION, from, head))
    }

    fn receive(&mut self, frame: Frame) {
        let mut reply: Vec<Frame> = Vec::new();
        match frame {
            Frame::Hello(hello) => {
                let from = hello.inbox.map_or(self.inbox, |cursor| cursor.seq.0) + 1;
                let inbox =
                    InboxState { incarnation: INCARNATION, head: Seq(self.inbox), from: Seq(from), reset: false };
                self.connections.last_mut().unwrap().sending.insert(user().into(), from);
                reply.push(Welcome { inbox, ..welcome() }.into());
            }
            Frame::Sync(sync) => {
                let outcome = |entry: &SyncEntry| SyncedEntry { chat: entry.chat, outcome: self.admit(entry) };
                let chats = sync.chats.iter().map(outcome).collect();
                reply.push(Synced { request: sync.request, last: true, chats }.into());
            }
            Frame::Subscribe(subscribe) => match self.admit(&subscribe.entry) {
                Ok(admission) => reply.push(Subscribed { request: subscribe.request, admission }.into()),
                Err(_) => reply.push(ErrorReply::new(subscribe.request, ErrorCode::Unavailable).into()),
            },
            Frame::Unsubscribe(unsubscribe) => {
                self.connections.last_mut().unwrap().sending.remove(&unsubscribe.chat.into());
                reply.push(Unsubscribed { request: unsubscribe.request }.into());
            }
            Frame::Command(command) => {
                let last = self.connections.last_mut().unwrap();
                let unanswered = last.unanswered.entry(command.entity).or_default();
                *unanswered += 1;
                assert!(*unanswered <= 64, "no more than 64 unanswered commands of an entity");
                last.appended.push_back(command);
            }
            Frame::Ping(ping) => reply.push(Frame::Pong(crate::frame::Pong { nonce: ping.nonce })),
            _ => {}
        }
        self.connections.last_mut().unwrap().out.extend(reply);
    }

    /// One command of any connection, dead ones included, comes to the end of the log.
    fn apply_one(&mut self) {
        let with_work = |(index, of): (usize, &Connection)| (!of.appended.is_empty()).then_some(index);
        let waiting: Vec<usize> = self.connections.iter().enumerate().filter_map(with_work).collect();
        if waiting.is_empty() {
            return;
        }
        let index = waiting[usize::try_from(self.random.below(waiting.len() as u64)).unwrap()];
        let command = self.connections[index].appended.pop_front().unwrap();
        let entity = command.entity;
        let answer = self.answer(command);
        let connection = &mut self.connections[index];
        *connection.unanswered.get_mut(&entity).unwrap() -= 1;
        if connection.alive {
            connection.out.push_back(answer);
        }
    }

    fn answer(&mut self, command: Command) -> Frame {
        let Command { request, entity, counter, after, body, .. } = command;
        if self.faults && self.random.one_in(12) {
            return ErrorReply::new(request, ErrorCode::Unavailable).retry_after_ms(self.random.below(50)).into();
        }
        let mut bytes = crate::Writer::with_capacity(64);
        body.encode(&mut bytes);
        let digest = command_digest(&bytes.freeze());
        let CommandBody::Send { text, .. } = body else { panic!("only sends here") };
        let applied = self.chats.entry(entity).or_default();
        let highest = applied.last().map_or(Counter(0), |last| last.0);
        let window = applied.len().saturating_sub(128);
        let known = applied.iter().enumerate().skip(window).find(|(_, of)| of.0 == counter);
        let seq = if let Some((index, (_, of, _))) = known {
            if *of != digest {
                return ErrorReply::new(request, ErrorCode::CounterReused).into();
            }
            index + 1
        } else if counter <= highest || after != highest {
            let seq = Seq(applied.len() as u64);
            let details = Some(ErrorDetails { counter: highest, seq });
            return ErrorReply { details, ..ErrorReply::new(request, ErrorCode::OutOfOrder) }.into();
        } else if text.starts_with("no") {
            return ErrorReply::new(request, ErrorCode::Forbidden).into();
        } else {
            applied.push((counter, digest, text));
            self.inbox += 1;
            applied.len()
        };
        if self.faults && self.random.one_in(12) {
            return ErrorReply::new(request, ErrorCode::OutcomeUnknown).into();
        }
        Ack { request, seq: Seq(seq as u64) }.into()
    }

    /// One event of anything subscribed to; now and then a wrong one.
    fn send_event(&mut self) {
        let Some(last) = self.connections.last().filter(|last| last.alive) else { return };
        let sending: Vec<(EntityId, u64)> = last.sending.iter().map(|(entity, next)| (*entity, *next)).collect();
        for (entity, next) in sending {
            if next > self.head(entity) {
                continue;
            }
            let fault = if self.faults { self.random.below(20) } else { 20 };
            let after = match fault {
                0 => next + 1,                            // sent twice
                1 if entity.chat().is_some() => next + 2, // one is lost
                _ => next + 1,
            };
            let seq = if after == next + 2 { (next + 1).min(self.head(entity)) } else { next };
            let last = self.connections.last_mut().unwrap();
            for _ in 0..if fault == 0 { 2 } else { 1 } {
                last.out.push_back(EventFrame { entity, event: event(seq) }.into());
            }
            last.sending.insert(entity, seq + 1);
        }
    }
}

pub(super) fn event(seq: u64) -> Bytes {
    let text = Text::from("text");
    let body = EventBody::MessageSent { format: MessageFormat::Text, text };
    let digest = Digest::default();
    let (actor, device) = (user(), device());
    Event { seq: Seq(seq), time: Time(seq), actor, device, counter: Counter(1), digest, target: None, body }.to_bytes()
}

struct World {
    session: ClientSession<u64>,
    server: Server,
    random: Random,
    now_ms: u64,
    submitted: u64,
    answers: BTreeMap<u64, Result<Reply, Refusal>>,
    texts: BTreeMap<EntityId, Vec<(u64, Text)>>,
    seen: BTreeMap<EntityId, u64>,
    /// Subscribes and Unsubscribes so far, and those whose answer is waited for.
    moved: u64,
    moving: BTreeSet<u64>,
    /// Events that the server repeated, or sent behind one that it lost.
    unexpected: u64,
}

/// Waiters from here on are of Subscribes and Unsubscribes.
const MOVES: u64 = 1_000_000;

impl World {
    fn new(seed: u64) -> Self {
        let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let faulty = Random(seed.wrapping_mul(0xd134_2543_de82_ef95) | 1);
        let server = Server {
            random: faulty,
            faults: true,
            chats: BTreeMap::new(),
            inbox: 0,
            connections: Vec::new(),
            moves: 0,
        };
        let session = ClientSession::new(Parameters { seed, ..parameters() });
        let (answers, texts, seen) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (moved, moving) = (0, BTreeSet::new());
        let (now_ms, submitted, unexpected) = (0, 0, 0);
        let mut world =
            Self { session, server, random, now_ms, submitted, answers, texts, seen, moved, moving, unexpected };
        for n in 0..CHATS {
            world.subscribe(nth_chat(n));
        }
        world
    }

    fn next_move(&mut self) -> u64 {
        self.moved += 1;
        self.moving.insert(MOVES + self.moved);
        MOVES + self.moved
    }

    fn subscribe(&mut self, chat: ChatId) {
        let seq = Seq(self.seen.get(&chat.into()).copied().unwrap_or(0));
        let waiter = self.next_move();
        self.session.subscribe(chat, Some(Cursor { incarnation: INCARNATION, seq }), waiter);
    }

    fn unsubscribe(&mut self, chat: ChatId) {
        let waiter = self.next_move();
        self.session.unsubscribe(chat, waiter);
    }

    /// A user who cannot decide. In the end they listen.
    fn leave_and_come_back(&mut self) {
        let chat = nth_chat(self.random.below(CHATS));
        for _ in 0..=self.random.below(3) {
            if self.random.one_in(2) {
                self.subscribe(chat);
            }
            self.unsubscribe(chat);
        }
        self.subscribe(chat);
    }

    fn is_connected(&self) -> bool {
        self.server.connections.last().is_some_and(|last| last.alive)
    }

    fn step(&mut self) {
        self.now_ms += self.random.below(20);
        if let Some(due) = self.session.due_ms() {
            if !self.is_connected() {
                self.now_ms = self.now_ms.max(due);
            }
            if self.now_ms >= due {
                self.session.tick(self.now_ms);
            }
        }
        if self.submitted < COMMANDS && self.random.one_in(3) {
            self.submit();
        }
        if self.submitted < COMMANDS && self.random.one_in(60) {
            self.leave_and_come_back();
        }
        self.outputs();
        if self.is_connected() {
            for _ in 0..self.random.below(8) {
                let Some(bytes) = self.session.next_frame(self.now_ms) else { break };
                let frame = Frame::decode(raw_of(bytes)).unwrap().unwrap();
                self.server.receive(frame);
            }
        }
        for _ in 0..self.random.below(6) {
            self.server.apply_one();
        }
        if self.random.one_in(2) {
            self.server.send_event();
        }
        for _ in 0..self.random.below(8) {
            let Some(frame) = self.server.connections.last_mut().and_then(|last| last.out.pop_front()) else { break };
            self.session.hear(raw_of(frame.to_bytes()), self.now_ms);
            self.outputs();
        }
        if self.server.faults && self.is_connected() && self.random.one_in(40) {
            self.server.drop_connection();
            self.session.disconnected(self.now_ms);
        }
        if self.server.faults && self.random.one_in(100) {
            self.server.ask_to_move();
        }
    }

    fn submit(&mut self) {
        let entity: EntityId = nth_chat(self.random.below(CHATS)).into();
        if !self.session.has_room(entity) {
            return;
        }
        let word = if self.random.one_in(10) { "no" } else { "yes" };
        let text = Text::from(format!("{word} {}", self.submitted));
        let body = CommandBody::Send { format: MessageFormat::Text, text: text.clone() };
        self.session.submit(entity, body, self.submitted).unwrap();
        self.texts.entry(entity).or_default().push((self.submitted, text));
        self.submitted += 1;
    }

    fn outputs(&mut self) {
        while let Some(output) = self.session.next_output() {
            match output {
                Output::Connect { .. } => {
                    if self.server.faults && self.random.one_in(4) {
                        self.session.not_connected(self.now_ms);
                    } else {
                        self.server.connect();
                        self.session.connected(self.now_ms);
                    }
                }
                Output::Close(_) => self.server.drop_oldest(),
                Output::Answered(waiter, answer) if waiter >= MOVES => {
                    assert!(self.moving.remove(&waiter), "each is answered once");
                    match answer {
                        Ok(Reply::Admitted(_) | Reply::Done) => {}
                        Err(refusal) => assert_eq!(refusal.code, ErrorCode::NotFound as u16, "it was left again"),
                        answer => panic!("{answer:?}"),
                    }
                }
                Output::Answered(waiter, answer) => {
                    assert!(self.answers.insert(waiter, answer).is_none(), "each is answered once");
                }
                Output::Notice(Notice::Event { entity, seq, .. }) => {
                    let seen = self.seen.entry(entity).or_default();
                    assert_eq!(seq.0, *seen + 1, "events come in order, each once");
                    *seen = seq.0;
                }
                Output::Notice(Notice::Unexpected { how, .. }) => {
                    // Whoever leaves and comes back gets nothing that the server may not have sent.
                    assert_ne!(how, Unexpected::NotListening, "the server sends only what was admitted");
                    self.unexpected += 1;
                }
                Output::Notice(Notice::Lost { .. } | Notice::Ended { .. } | Notice::TokenNeeded) => {
                    panic!("nothing was lost for good: {output:?}")
                }
                Output::Notice(_) => {}
            }
        }
    }

    fn is_done(&self) -> bool {
        let inbox = EntityId::from(user());
        let entities = self.server.chats.keys().chain([&inbox]);
        let mut behind =
            entities.filter(|entity| self.seen.get(entity).copied().unwrap_or(0) < self.server.head(**entity));
        self.submitted == COMMANDS
            && self.answers.len() as u64 == COMMANDS
            && self.moving.is_empty()
            && behind.next().is_none()
            && self.session.requests.is_empty()
    }

    fn check(&self) {
        for (entity, texts) in &self.texts {
            let applied: Vec<_> =
                self.server.chats.get(entity).into_iter().flatten().map(|of| of.2.to_string()).collect();
            let wanted = texts.iter().filter(|(_, text)| text.starts_with("yes")).map(|(_, text)| text.to_string());
            assert_eq!(applied, wanted.collect::<Vec<_>>(), "each once, in order");
            for (waiter, text) in texts {
                let at = applied.iter().position(|of| of.as_str() == text.as_str());
                match (&self.answers[waiter], at) {
                    (Ok(Reply::Applied(seq)), Some(at)) => assert_eq!(seq.0, at as u64 + 1),
                    (Err(refusal), None) => assert_eq!(refusal.code, ErrorCode::Forbidden as u16),
                    (answer, at) => panic!("{text} was applied at {at:?} and answered {answer:?}"),
                }
            }
        }
    }
}

#[test]
fn every_command_is_applied_once_in_order_and_every_event_seen_once() {
    let (mut moves, mut unexpected) = (0, 0);
    for seed in 1..=300 {
        let mut world = World::new(seed);
        for step in 0..200_000 {
            // In the end the server is well, so that everything comes to an end.
            world.server.faults = step < 2_000 && world.submitted < COMMANDS_IN_TROUBLE;
            world.step();
            if world.is_done() {
                break;
            }
        }
        assert!(world.is_done(), "seed {seed}: {} of {COMMANDS} are answered", world.answers.len());
        world.check();
        assert!(world.server.connections.len() > 2, "seed {seed}: connections were dropped");
        moves += world.server.moves;
        unexpected += world.unexpected;
    }
    assert!(moves > 300, "only {moves} times it was asked to move");
    assert!(unexpected > 300, "only {unexpected} times an event was repeated or missing");
}
