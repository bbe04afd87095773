//! Random histories: whatever the readers' speed, the link's overflows and the members' comings and
//! goings, every stream is gapless, each event once, and ends with the right.

use std::time::Duration;

use panda_protocol::event::peek_seq;
use panda_protocol::frame::{Frame, RequestId, Subscribe, SyncEntry, Unsubscribe};
use panda_protocol::{ChatId, Cursor, EntityId, ErrorCode, Incarnation, Seq, UserId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::router::Router;
use super::{Fixture, user};
use crate::config::SessionLimits;
use crate::session::SessionKey;

const USERS: u8 = 4;
const STEPS: usize = 600;

/// What a client of the chat knows.
struct Client {
    user: UserId,
    key: SessionKey,
    request: u64,
    /// The request whose answer is waited for.
    asked: Option<u64>,
    /// The next event, while it listens.
    next: Option<Seq>,
    /// The last event that it has.
    has: Seq,
    ended: Option<u16>,
}

impl Client {
    fn subscribe(&mut self, fixture: &mut Fixture, chat: ChatId) {
        self.request += 1;
        self.asked = Some(self.request);
        let cursor = Some(Cursor { incarnation: Incarnation::default(), seq: self.has });
        let entry = SyncEntry { chat, cursor, proof: Default::default() };
        fixture.hear(self.key, Subscribe { request: RequestId(self.request), entry });
    }

    fn unsubscribe(&mut self, fixture: &mut Fixture, chat: ChatId) {
        self.request += 1;
        self.next = None;
        self.asked = None;
        fixture.hear(self.key, Unsubscribe { request: RequestId(self.request), chat });
    }

    fn see(&mut self, entity: EntityId, router: &Router, frame: &Frame) {
        match frame {
            Frame::Subscribed(subscribed) if Some(subscribed.request.0) == self.asked => {
                self.asked = None;
                self.next = Some(subscribed.admission.from);
                self.ended = None;
            }
            Frame::Error(error) if Some(error.request.0) == self.asked => {
                self.asked = None;
                self.next = None;
                self.ended = Some(error.code);
            }
            Frame::Event(event) if event.entity == entity => {
                let seq = peek_seq(&event.event).unwrap();
                if self.asked.is_some() || self.next.is_none() {
                    // Queued before the client's last word was heard.
                    return;
                }
                assert_eq!(Some(seq), self.next, "a gap, or an event twice");
                self.next = Some(seq.next());
                self.has = seq;
                assert!(router.was_visible(entity, self.user, seq), "an event behind the removal");
            }
            Frame::Ended(ended) if ended.entity == entity => {
                if ended.code == ErrorCode::NotMember as u16 && self.next.is_some() && self.asked.is_none() {
                    let last = router.chats[&entity].events.iter().find(|event| event.seq == self.has);
                    assert_eq!(last.and_then(|event| event.ends), Some(self.user), "the removal is the last event");
                }
                self.next = None;
                self.ended = Some(ended.code);
            }
            Frame::Bye(bye) => panic!("{bye:?}"),
            _ => {}
        }
    }
}

struct Model {
    fixture: Fixture,
    router: Router,
    clients: Vec<Client>,
    chat: ChatId,
    entity: EntityId,
    random: StdRng,
}

impl Model {
    async fn new(seed: u64) -> Self {
        let limits = SessionLimits { outbox_bytes_max: 0, ..SessionLimits::default() };
        let mut fixture = Fixture::new(limits);
        let chat = ChatId::direct(user(1), user(2));
        let mut router = Router::default();
        let clients = (1..=USERS)
            .flat_map(|byte| [user(byte); 2])
            .map(|user| {
                router.add(chat.into(), user, true);
                let key = fixture.connect(user);
                Client { user, key, request: 0, asked: None, next: None, has: Seq(0), ended: None }
            })
            .collect();
        let random = StdRng::seed_from_u64(seed);
        let mut model = Self { fixture, router, clients, chat, entity: chat.into(), random };
        model.settle().await;
        model
    }

    fn up(&mut self) {
        for up in self.fixture.ups() {
            self.router.take(up);
        }
    }

    fn down(&mut self, count: usize) {
        for _ in 0..count {
            let Some(down) = self.router.next_down() else { return };
            self.fixture.core.arrive(vec![down]);
        }
    }

    fn slice(&mut self) {
        self.fixture.core.fan_out_on();
    }

    fn take(&mut self, index: usize, room: usize) {
        let client = &mut self.clients[index];
        for frame in self.fixture.take(client.key, room) {
            client.see(self.entity, &self.router, &frame);
        }
    }

    fn step(&mut self) {
        let index = self.random.random_range(0..self.clients.len());
        let member = self.clients[index].user;
        match self.random.random_range(0..100) {
            0..40 => {
                let text_len = self.random.random_range(0..9_000);
                self.router.say(self.entity, text_len);
            }
            40..43 => self.router.overflow(self.entity),
            43..45 if self.router.is_member(self.entity, member) => self.router.remove(self.entity, member),
            43..48 if !self.router.is_member(self.entity, member) => {
                let with_history = self.random.random();
                self.router.add(self.entity, member, with_history);
            }
            48..56 => {
                let client = &mut self.clients[index];
                if client.next.is_none() && client.asked.is_none() {
                    client.subscribe(&mut self.fixture, self.chat);
                }
            }
            56..57 if self.clients[index].next.is_some() => {
                self.clients[index].unsubscribe(&mut self.fixture, self.chat);
            }
            57..70 => {
                let room = self.random.random_range(0..60_000);
                self.take(index, room);
            }
            70..75 => self.up(),
            75..80 => self.slice(),
            80..90 => {
                self.router.answer();
            }
            _ => {
                let count = self.random.random_range(0..8);
                self.down(count);
            }
        }
    }

    /// Lets everything happen that is under way, and what waits for its time.
    async fn settle(&mut self) {
        let (mut quiet, mut due) = (0, Vec::new());
        for _ in 0..10_000 {
            self.up();
            let answered = self.router.answer();
            let before = self.router.down.len();
            self.down(1_000);
            self.slice();
            let mut moved = answered || before > 0 || self.fixture.core.slices.has_turns();
            for index in 0..self.clients.len() {
                let waits = !self.fixture.core.is_drained(self.clients[index].key);
                self.take(index, usize::MAX);
                moved |= waits;
            }
            if moved || self.fixture.core.links.has_up() {
                quiet = 0;
                continue;
            }
            if quiet == 2 {
                return;
            }
            // A read that brought nothing is repeated after a while.
            quiet += 1;
            tokio::time::advance(Duration::from_millis(300)).await;
            self.fixture.core.turn(&mut due);
        }
        panic!("it does not come to rest");
    }
}

/// Returns how often an outbox was cut.
async fn run(seed: u64) -> u64 {
    let mut model = Model::new(seed).await;
    for _ in 0..STEPS {
        model.step();
    }
    model.settle().await;
    // Who may listen and was told to ask again does so; whoever listens has everything.
    for index in 0..model.clients.len() {
        let client = &mut model.clients[index];
        if client.next.is_none() && client.ended != Some(ErrorCode::NotMember as u16) {
            client.subscribe(&mut model.fixture, model.chat);
        }
    }
    model.settle().await;
    let head = model.router.chats[&model.entity].head();
    for client in &model.clients {
        let (member, listens) = (model.router.is_member(model.entity, client.user), client.next);
        assert!(client.asked.is_none(), "seed {seed}: a request was not answered");
        match listens {
            Some(next) => assert_eq!(next, head.next(), "seed {seed}: a listener has everything (member: {member})"),
            None => assert_eq!(client.ended, Some(ErrorCode::NotMember as u16), "seed {seed}: told why"),
        }
    }
    for client in &model.clients {
        model.fixture.core.remove(client.key);
    }
    model.settle_empty().await;
    assert!(model.fixture.core.subscriptions.is_unknown(model.entity), "seed {seed}: nothing stays behind");
    model.fixture.core.metrics.cuts.get()
}

impl Model {
    async fn settle_empty(&mut self) {
        self.clients.clear();
        self.settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn every_stream_is_gapless_and_ends_with_the_right_whatever_happens() {
    let seeds = match std::env::var("PANDA_SIM_SEED") {
        Ok(seed) => seed.parse::<u64>().map(|seed| seed..seed + 1).unwrap(),
        Err(_) => 0..200,
    };
    let mut cuts = 0;
    for seed in seeds {
        cuts += run(seed).await;
    }
    assert!(cuts > 0, "readers were slow enough");
}
