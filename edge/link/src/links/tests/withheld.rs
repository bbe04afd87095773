//! Commands that add users to chats: whom is asked about them, what goes on, what is refused, in which order.

use panda_protocol::Writer;
use panda_protocol::event::{MessageFormat, Role};
use panda_protocol::frame::CommandBody;
use panda_protocol::limits::{COMMAND_MEMBERS_MAX, TEXT_BYTES_MAX};

use super::*;

const CHATS_MAX: u64 = 3;

fn links(log: &TestLog) -> Links<TestLog, u32> {
    Links::new(log.clone(), LINK, 3, LinkLimits { user_chats_max: CHATS_MAX, ..LinkLimits::default() })
}

fn device(byte: u8) -> DeviceId {
    DeviceId::from_random([byte; 16])
}

/// The group that user 1 makes with this counter on device 1.
fn group(counter: u64) -> EntityId {
    ChatId::group(user(1), device(1), Counter(counter)).into()
}

fn create(members: &[u8]) -> CommandBody {
    CommandBody::CreateGroup { name: "tea".into(), members: members.iter().map(|byte| user(*byte)).collect() }
}

fn say(text: &str) -> CommandBody {
    CommandBody::Send { format: MessageFormat::Text, text: text.into() }
}

/// What became of withheld commands, in order.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    Full(u32, Vec<UserId>),
    Refused(u32, ErrorCode),
}

impl Links<TestLog, u32> {
    /// A command of user 1's device 1; what it waits for has the number of its counter.
    fn tell(&mut self, to: EntityId, counter: u64, body: &CommandBody) -> Result<(), (Rejection, u32)> {
        self.tell_from(1, to, counter, body)
    }

    fn tell_from(&mut self, of: u8, to: EntityId, counter: u64, body: &CommandBody) -> Result<(), (Rejection, u32)> {
        let mut command = Writer::default();
        body.encode(&mut command);
        let context = u32::try_from(counter).expect("a small number");
        let (counter, after) = (Counter(counter), Counter(counter - 1));
        self.command(0, user(1), device(of), to, counter, after, command.freeze(), None, context)
    }

    fn questions(&mut self) -> Vec<Read> {
        let read = |up| match up {
            Up::Read(read) => read,
            other => panic!("{other:?} is no question"),
        };
        self.ups().into_iter().map(read).collect()
    }

    /// The inbox's owner says in how many chats its user is.
    fn count(&mut self, asked: &Read, chats: u64) {
        assert_eq!(asked.query, ReadQuery::ChatCount);
        let mut body = Writer::default();
        body.varint(chats);
        self.reply(asked, Ok(body.freeze()));
    }

    /// The chat's owner says whom the command would add.
    fn adds(&mut self, asked: &Read, users: &[UserId]) {
        let mut body = Writer::default();
        body.list(users, Writer::value);
        self.reply(asked, Ok(body.freeze()));
    }

    fn reply(&mut self, asked: &Read, body: Result<Bytes, Rejection>) {
        assert!(self.arrive(Down::Read(ReadReply { token: asked.token, last: true, body })).is_none());
    }

    fn ended(&mut self) -> Vec<Ended> {
        let ended = |arrived| match arrived {
            Arrived::Full { waiting, users } => Ended::Full(waiting, users),
            Arrived::Command { waiting, outcome: Err(rejection) } => Ended::Refused(waiting, rejection.code),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(|| self.poll()).map(ended).collect()
    }
}

impl TestLog {
    /// Counters and kinds of what was appended.
    fn told(&self) -> Vec<(u64, u8)> {
        let told = |(_, record, _): &Appended| match Record::from_bytes(record.clone()) {
            Ok(Record::Command(command)) => (command.counter.0, command.command[0]),
            other => panic!("{other:?} is no command"),
        };
        self.appended.lock().iter().map(told).collect()
    }
}

#[test]
fn what_adds_nobody_is_appended_at_once_and_nobody_is_asked() {
    let log = TestLog::default();
    let mut links = links(&log);
    let bodies = [
        say("hi"),
        CommandBody::RemoveMembers { members: vec![user(2)] },
        CommandBody::SetRole { member: user(2), role: Role::Admin },
        CommandBody::Rename { name: "milk".into() },
    ];
    for (counter, body) in (1..).zip(&bodies) {
        links.tell(group(1), counter, body).expect("there is room");
    }
    assert_eq!(log.told(), [(1, 0x01), (2, 0x05), (3, 0x06), (4, 0x07)]);
    assert_eq!((links.questions(), links.withheld()), (vec![], 0));
}

#[test]
fn a_command_waits_until_all_whom_it_adds_were_counted_and_those_behind_it_wait_too() {
    let log = TestLog::default();
    let mut links = links(&log);
    links.tell(group(1), 1, &create(&[3, 2, 2, 1])).expect("there is room");
    links.tell(group(1), 2, &say("hi")).expect("there is room");
    links.tell(group(1), 3, &say("ho")).expect("there is room");
    assert_eq!((log.told(), links.withheld()), (vec![], 3));
    // Other chats do not wait, nor does another device, which has an order of its own.
    links.tell(group(9), 4, &say("there")).expect("there is room");
    links.tell_from(2, group(1), 5, &say("here")).expect("there is room");
    assert_eq!(log.told(), [(4, 0x01), (5, 0x01)]);
    let asked = links.questions();
    let inboxes: Vec<EntityId> = asked.iter().map(|read| read.entity).collect();
    assert_eq!(inboxes, [entity(1), entity(2), entity(3)], "each once");
    assert!(asked.iter().all(|read| read.user == user(1)));
    links.count(&asked[2], CHATS_MAX - 1);
    links.count(&asked[0], 0);
    assert_eq!(links.withheld(), 3);
    links.count(&asked[1], CHATS_MAX - 1);
    assert_eq!(log.told()[2..], [(1, 0x02), (2, 0x01), (3, 0x01)]);
    assert_eq!((links.withheld(), links.ended()), (0, vec![]));
    // What comes now is behind nothing.
    links.tell(group(1), 6, &say("at once")).expect("there is room");
    assert_eq!(log.told()[5..], [(6, 0x01)]);
}

#[test]
fn each_kind_of_command_that_adds_users_asks_about_those_whom_it_adds() {
    let direct = ChatId::direct(user(1), user(2)).into();
    let add = CommandBody::AddMembers { role: Role::Member, with_history: false, members: vec![user(3), user(2)] };
    let most: Vec<u8> = (2..).take(COMMAND_MEMBERS_MAX).collect();
    let cases = [
        (group(1), create(&[]), vec![1]),
        (direct, CommandBody::CreateDirect { peer: user(2) }, vec![1, 2]),
        (group(1), add, vec![2, 3]),
        (group(1), create(&most), (1..).take(COMMAND_MEMBERS_MAX + 1).collect()),
    ];
    for (to, body, users) in cases {
        let mut links = links(&TestLog::default());
        links.tell(to, 1, &body).expect("there is room");
        let asked: Vec<EntityId> = links.questions().iter().map(|read| read.entity).collect();
        assert_eq!(asked, users.into_iter().map(entity).collect::<Vec<_>>(), "{body:?}");
    }
}

#[test]
fn one_at_the_limit_refuses_the_whole_command_and_those_behind_it_go_on() {
    let log = TestLog::default();
    let mut links = links(&log);
    links.tell(group(1), 1, &create(&[2, 3])).expect("there is room");
    links.tell(group(1), 2, &say("hi")).expect("there is room");
    let asked = links.questions();
    links.count(&asked[0], CHATS_MAX - 1);
    links.count(&asked[1], CHATS_MAX);
    links.count(&asked[2], CHATS_MAX + 1);
    let asked = links.questions();
    let query = ReadQuery::Joining { device: device(1), counter: Counter(1), users: vec![user(2), user(3)] };
    assert_eq!((asked[0].user, asked[0].entity, &asked[0].query), (user(1), group(1), &query));
    assert_eq!((asked.len(), log.told()), (1, vec![]));
    links.adds(&asked[0], &[user(3)]);
    assert_eq!(links.ended(), [Ended::Full(1, vec![user(3)])]);
    assert_eq!(log.told(), [(2, 0x01)], "its owner says that it follows nothing");
    assert_eq!((links.withheld(), links.waiting()), (0, 1));
}

#[test]
fn a_command_that_would_add_nobody_at_the_limit_gets_its_owners_answer() {
    let log = TestLog::default();
    let mut links = links(&log);
    // It is sent again; the first time it brought its user to the limit.
    links.tell(group(1), 1, &create(&[])).expect("there is room");
    let asked = links.questions();
    links.count(&asked[0], CHATS_MAX);
    let asked = links.questions();
    links.adds(&asked[0], &[]);
    assert_eq!((log.told(), links.ended()), (vec![(1, 0x02)], vec![]));
}

#[test]
fn an_owner_that_cannot_say_or_says_nothing_in_time_holds_no_command_up() {
    let refused = |code| Err(Rejection::new(code));
    for body in [refused(ErrorCode::Unavailable), refused(ErrorCode::Damaged), Ok(Bytes::new())] {
        let log = TestLog::default();
        let mut links = links(&log);
        links.tell(group(1), 1, &create(&[])).expect("there is room");
        let asked = links.questions();
        links.reply(&asked[0], body.clone());
        assert_eq!(log.told(), [(1, 0x02)], "the inbox: {body:?}");
        links.tell(group(2), 2, &create(&[])).expect("there is room");
        let asked = links.questions();
        links.count(&asked[0], CHATS_MAX);
        let asked = links.questions();
        links.reply(&asked[0], body.clone());
        assert_eq!(log.told()[1..], [(2, 0x02)], "the chat: {body:?}");
    }
    let log = TestLog::default();
    let mut links = links(&log);
    links.tell(group(1), 1, &create(&[2])).expect("there is room");
    links.tell(group(1), 2, &say("hi")).expect("there is room");
    links.tell(group(2), 3, &create(&[])).expect("there is room");
    let asked = links.questions();
    links.count(&asked[0], CHATS_MAX);
    links.count(&asked[2], CHATS_MAX);
    assert!(links.expire(999).is_none());
    assert_eq!(log.told(), []);
    assert!(links.expire(1_000).is_none());
    assert_eq!(log.told(), [(1, 0x02), (2, 0x01), (3, 0x02)]);
    // What is answered now is waited for no longer.
    links.count(&asked[1], CHATS_MAX);
    assert_eq!((links.ended(), links.withheld(), links.waiting()), (vec![], 0, 3));
    assert!(links.expire(10_999).is_none());
    assert!(matches!(links.expire(11_000), Some(Arrived::Command { waiting: 1, outcome: Err(_) })));
}

#[test]
fn a_new_owner_is_asked_again_in_how_many_chats_a_user_is() {
    let log = TestLog::default();
    let mut links = links(&log);
    links.tell(group(1), 1, &create(&[])).expect("there is room");
    let asked = links.questions();
    assert!(links.owner(entity(1), 7));
    assert_eq!(links.questions(), asked);
    links.count(&asked[0], 0);
    assert_eq!(log.told(), [(1, 0x02)]);
}

#[test]
fn what_cannot_be_appended_when_its_turn_comes_is_refused() {
    let log = TestLog::default();
    let mut links = links(&log);
    links.tell(group(1), 1, &create(&[])).expect("there is room");
    links.tell(group(1), 2, &say("hi")).expect("there is room");
    let asked = links.questions();
    assert!(links.arrive(Down::Backlog { shard: group(1).shard(SHARDS), age_ms: 5_001 }).is_none());
    let (rejection, _) = links.tell(group(1), 3, &say("hi")).expect_err("its shard is behind");
    assert_eq!(rejection.code, ErrorCode::Backlogged);
    links.count(&asked[0], 0);
    assert_eq!(links.ended(), [Ended::Refused(1, ErrorCode::Backlogged), Ended::Refused(2, ErrorCode::Backlogged)]);
    assert_eq!((log.told(), links.withheld()), (vec![], 0));
    // The log has no room.
    assert!(links.arrive(Down::Backlog { shard: group(1).shard(SHARDS), age_ms: 0 }).is_none());
    links.tell(group(1), 4, &create(&[])).expect("there is room");
    *log.refuses.lock() = Some(AppendError::Full);
    let asked = links.questions();
    links.count(&asked[0], 0);
    assert_eq!(links.ended(), [Ended::Refused(4, ErrorCode::Unavailable)]);
}

#[test]
fn what_is_withheld_is_bounded() {
    let limits = LinkLimits { waiting_max: 8, ..LinkLimits::default() };
    let mut links = Links::new(TestLog::default(), LINK, 3, limits);
    links.tell(group(1), 1, &create(&[])).expect("there is room");
    // One question and the commands that are withheld.
    for counter in 2..=7 {
        links.tell(group(1), counter, &say("hi")).expect("there is room");
    }
    let (rejection, context) = links.tell(group(1), 8, &say("hi")).expect_err("eight may wait");
    assert_eq!((rejection.code, context, links.withheld()), (ErrorCode::Unavailable, 8, 7));
    assert!(rejection.retry_after_ms > 0);

    let mut links = Links::new(TestLog::default(), LINK, 3, LinkLimits::default());
    links.tell(group(1), 1, &create(&[])).expect("there is room");
    let text = "x".repeat(TEXT_BYTES_MAX);
    let taken = (2..).take_while(|counter| links.tell(group(1), *counter, &say(&text)).is_ok()).count();
    assert_eq!(taken, (16 << 20) / (TEXT_BYTES_MAX + 6));
    assert!(links.tell(group(9), 1, &say(&text)).is_ok(), "what is not withheld goes on");
    // All of it is given back.
    let asked = links.questions();
    links.count(&asked[0], 0);
    links.tell(group(2), 2, &create(&[])).expect("there is room");
    links.tell(group(2), 3, &say(&text)).expect("there is room");
    assert_eq!(links.withheld(), 2);
}

#[test]
fn questions_of_withheld_commands_leave_room_for_others() {
    let log = TestLog::default();
    let limits = LinkLimits { up_max: 4, ..LinkLimits::default() };
    let mut links = Links::new(log.clone(), LINK, 3, limits);
    links.tell(group(1), 1, &create(&[2, 3])).expect("there is room");
    assert_eq!((log.told(), links.withheld()), (vec![(1, 0x02)], 0), "it goes on without being counted");
    links.tell(group(2), 2, &create(&[2])).expect("there is room");
    links.tell(group(3), 3, &create(&[])).expect("there is room");
    assert_eq!((log.told()[1..].to_vec(), links.withheld()), (vec![(3, 0x02)], 1));
    for question in 0..2 {
        links.admit(0, user(1), entity(1), None, None, question).expect("others find room");
    }
}

#[test]
fn a_command_that_cannot_be_read_is_its_owners_to_refuse() {
    let log = TestLog::default();
    let mut links = links(&log);
    for (counter, bytes) in (1..).zip([&[0x02][..], &[0x03, 0xff], &[0x04, 9], &[]]) {
        let (command, counter) = (Bytes::copy_from_slice(bytes), Counter(counter));
        links.command(0, user(1), device(1), group(1), counter, Counter(0), command, None, 1).expect("there is room");
    }
    assert_eq!((log.appended.lock().len(), links.withheld()), (4, 0));
}

#[test]
fn a_withheld_command_is_appended_with_its_own_context() {
    let log = TestLog::default();
    let mut links = links(&log);
    let trace = |number| TraceContext::new([number; 16], [1; 8], 0);
    let mut tell = |counter: u64, body: &CommandBody, trace| {
        let mut command = Writer::default();
        body.encode(&mut command);
        let (counter, after) = (Counter(counter), Counter(counter - 1));
        links.command(0, user(1), device(1), group(1), counter, after, command.freeze(), trace, 0).unwrap();
    };
    tell(1, &create(&[]), trace(5));
    tell(2, &say("a"), None);
    tell(3, &say("b"), trace(6));
    assert!(log.headers.lock().is_empty(), "they wait");
    let asked = links.questions().remove(0);
    links.count(&asked, 0);
    let told: Vec<_> = log.headers.lock().iter().map(|headers| headers.trace).collect();
    assert_eq!(told, [trace(5), None, trace(6)]);
}
