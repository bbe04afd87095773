//! What one message costs the fold: the rows that it needs, the decision, the event's bytes, and the rows behind it. A
//! chat of many members costs no more than a small one, and a sender of many messages no more than a new one.

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use panda_protocol::event::{MessageFormat, Role};
use panda_protocol::frame::CommandBody;
use panda_protocol::link::{CommandOrigin, CommandRecord, LinkId, Record};
use panda_protocol::{ChatId, Counter, DeviceId, EntityId, Position, Text, Time, UserId, Writer};
use panda_router::fold::{RULES_CURRENT, advance, apply, needs};
use panda_router::rows::{Row, RowId, Rows};

/// Members that are added by one command, at most.
const ADDED_AT_ONCE: usize = 100;
const DEVICE: [u8; 16] = [7; 16];

/// A chat in memory, and the log that made it.
#[derive(Default)]
struct Chat {
    rows: HashMap<RowId, Row>,
    counter: u64,
    offset: u64,
}

impl Rows for Chat {
    fn row(&self, id: &RowId) -> Option<&Row> {
        self.rows.get(id)
    }
    fn take_row(&mut self, id: &RowId) -> Option<Row> {
        self.rows.remove(id)
    }
    fn set_row(&mut self, id: RowId, row: Row) {
        self.rows.insert(id, row);
    }
}

fn user(number: usize) -> UserId {
    let mut random = [0; 16];
    random[..8].copy_from_slice(&(number as u64).to_be_bytes());
    UserId::from_random(random)
}

fn chat_id() -> ChatId {
    ChatId::group(user(0), DeviceId::from_random(DEVICE), Counter(1))
}

impl Chat {
    fn of(members: usize) -> Self {
        let mut chat = Self::default();
        let name = Text::from("bench");
        chat.take(CommandBody::CreateGroup { name, members: Vec::new() });
        let others: Vec<UserId> = (1..members).map(user).collect();
        for members in others.chunks(ADDED_AT_ONCE) {
            chat.take(CommandBody::AddMembers { role: Role::Member, with_history: false, members: members.to_vec() });
        }
        chat
    }

    /// The owner's next command.
    fn next(&self, body: &CommandBody) -> Record {
        let mut command = Writer::with_capacity(256);
        body.encode(&mut command);
        Record::Command(CommandRecord {
            origin: CommandOrigin { link: LinkId(1), token: self.offset },
            entity: chat_id().into(),
            actor: user(0),
            device: DeviceId::from_random(DEVICE),
            counter: Counter(self.counter + 1),
            after: Counter(self.counter),
            command: command.freeze(),
        })
    }

    /// What a shard does with a record whose rows are in memory; returns the bytes of its events.
    fn fold(&mut self, record: &Record) -> usize {
        let entity = EntityId::from(chat_id());
        let position = Position { epoch: 1, offset: self.offset };
        black_box(needs(record));
        let events = apply(RULES_CURRENT, self, record, position, Time(self.offset * 10)).expect("the owner may");
        let bytes = events.iter().map(|event| event.to_bytes().len()).sum();
        for event in &events {
            advance(self, entity, event, position);
        }
        (self.counter, self.offset) = (self.counter + 1, self.offset + 1);
        bytes
    }

    fn take(&mut self, body: CommandBody) {
        let record = self.next(&body);
        self.fold(&record);
    }
}

fn message() -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: Text::from("x".repeat(128).as_str()) }
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply: a message");
    for members in [1, 100, 10_000] {
        let mut chat = Chat::of(members);
        let body = message();
        group.bench_function(BenchmarkId::new("members", members), |bench| {
            bench.iter(|| {
                let record = chat.next(&body);
                chat.fold(&record)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, messages);
criterion_main!(benches);
