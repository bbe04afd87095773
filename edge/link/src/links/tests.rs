//! What goes up, who gets what comes down, and what happens when the owner of a shard changes.

mod withheld;

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;

use panda_protocol::event::Role;
use panda_protocol::frame::Admission;
use panda_protocol::link::{Admitted, Answer, Down, Membership, Outcome, ReadReply};
use panda_protocol::{Incarnation, Time};
use panda_storage::StoreError;
use panda_storage::embedded::EmbeddedLog;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::*;

const LINK: LinkId = LinkId(7);
const SHARDS: u16 = 4;

fn user(byte: u8) -> UserId {
    UserId::from_random([byte; 16])
}

fn entity(byte: u8) -> EntityId {
    user(byte).into()
}

fn links(log: TestLog) -> Links<TestLog, u32> {
    let limits = LinkLimits { waiting_max: 8, up_max: 4, ..LinkLimits::default() };
    Links::new(log, LINK, 3, limits)
}

type Confirm = oneshot::Sender<Result<Position, AppendError>>;
type Appended = (ShardId, Bytes, Confirm);

/// A log whose confirmations come when the test says so.
#[derive(Clone, Default)]
struct TestLog {
    appended: Arc<Mutex<Vec<Appended>>>,
    /// Of all that were appended.
    headers: Arc<Mutex<Vec<RecordHeaders>>>,
    refuses: Arc<Mutex<Option<AppendError>>>,
}

impl TestLog {
    fn confirm(&self, at: usize, outcome: Result<u64, AppendError>) {
        let (.., confirm) = self.appended.lock().remove(at);
        confirm.send(outcome.map(|offset| Position { epoch: 1, offset })).expect("somebody waits");
    }
}

struct Confirmation(oneshot::Receiver<Result<Position, AppendError>>);

impl Future for Confirmation {
    type Output = Result<Position, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|outcome| outcome.unwrap_or(Err(AppendError::Unknown)))
    }
}

impl CommandLog for TestLog {
    type Appending = Confirmation;
    type Group = <EmbeddedLog as CommandLog>::Group;
    type Reader = <EmbeddedLog as CommandLog>::Reader;

    fn shards(&self) -> u16 {
        SHARDS
    }

    fn epoch(&self) -> u32 {
        1
    }

    fn append(&self, shard: ShardId, record: Bytes, headers: RecordHeaders) -> Result<Self::Appending, AppendError> {
        if let Some(error) = *self.refuses.lock() {
            return Err(error);
        }
        let (sender, receiver) = oneshot::channel();
        self.appended.lock().push((shard, record, sender));
        self.headers.lock().push(headers);
        Ok(Confirmation(receiver))
    }

    fn join(&self, router: u64) -> Self::Group {
        EmbeddedLog::new(SHARDS, 1, || Time(0)).join(router)
    }

    async fn read(&self, shard: ShardId, from: Option<Position>) -> Result<Self::Reader, StoreError> {
        EmbeddedLog::new(SHARDS, 1, || Time(0)).read(shard, from).await
    }

    async fn end(&self, _: ShardId) -> Result<Position, StoreError> {
        Ok(Position { epoch: 1, offset: 0 })
    }

    async fn release(&self, _: ShardId, _: Position) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Links<TestLog, u32> {
    fn send(&mut self, to: EntityId, context: u32) -> Result<(), (Rejection, u32)> {
        let device = DeviceId::from_random([1; 16]);
        self.command(0, user(1), device, to, Counter(1), Counter(0), Bytes::from_static(b"c"), None, context)
    }

    fn poll(&mut self) -> Option<Arrived<'static, u32>> {
        match self.poll_failed(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(arrived) => Some(arrived),
            Poll::Pending => None,
        }
    }

    fn ups(&mut self) -> Vec<Up> {
        std::iter::from_fn(|| self.next_up()).collect()
    }

    fn owner(&mut self, of: EntityId, generation: u64) -> bool {
        let down = Down::Owner { shard: of.shard(SHARDS), generation: Generation(generation) };
        matches!(self.arrive(down), Some(Arrived::Owner { shard }) if shard == of.shard(SHARDS))
    }
}

fn token_of(record: &Bytes) -> u64 {
    let Ok(Record::Command(command)) = Record::from_bytes(record.clone()) else { panic!("a command was appended") };
    assert_eq!(command.origin.link, LINK);
    command.origin.token
}

fn admission() -> Admission {
    Admission {
        start: panda_protocol::frame::Start::Live,
        incarnation: Incarnation::default(),
        from: Seq(2),
        head: Seq(1),
        role: Role::Member,
        visible_from: Seq(1),
        proof: Bytes::new(),
    }
}

fn admitted(token: u64, entity: EntityId, generation: u64) -> Down {
    Down::Admitted(Admitted { token, generation: Generation(generation), entity, outcome: Ok(admission()) })
}

fn applied(token: u64, generation: u64) -> Down {
    Down::Answer(Answer { token, generation: Generation(generation), outcome: Outcome::Applied(Seq(5)) })
}

#[test]
fn a_record_names_the_end_that_appended_it_and_the_context_of_its_command() {
    let log = TestLog::default();
    let mut links = links(log.clone());
    for trace in [None, TraceContext::new([1; 16], [2; 8], 0), TraceContext::new([1; 16], [2; 8], 1)] {
        let device = DeviceId::from_random([1; 16]);
        let command = Bytes::from_static(b"c");
        links.command(0, user(1), device, entity(1), Counter(1), Counter(0), command, trace, 10).unwrap();
        let headers = *log.headers.lock().last().unwrap();
        assert_eq!(headers, RecordHeaders { from: Some(Appender::Edge(LINK)), trace });
    }
}

#[test]
fn an_answer_reaches_who_waits_for_it_once() {
    let log = TestLog::default();
    let mut links = links(log.clone());
    links.send(entity(1), 10).expect("there is room");
    links.send(entity(2), 20).expect("there is room");
    let (shard, record, _) = &log.appended.lock()[1];
    assert_eq!(*shard, entity(2).shard(SHARDS));
    let token = token_of(record);
    assert!(matches!(links.arrive(applied(token, 1)), Some(Arrived::Command { waiting: 20, outcome: Ok(Seq(5)) })));
    assert!(links.arrive(applied(token, 1)).is_none(), "nobody waits any more");
    assert_eq!(links.waiting(), 1);
}

#[test]
fn tokens_say_whose_they_are() {
    let mut links = links(TestLog::default());
    for _ in 0..3 {
        links.admit(0, user(1), entity(1), None, None, 1).expect("there is room");
    }
    let mut seen = Vec::new();
    for up in links.ups() {
        let Up::Admit(admit) = up else { panic!("an admission was asked for") };
        assert_eq!(crate::waiting::lane_of(admit.token), 3);
        seen.push(admit.token);
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_log_that_refuses_at_once_gives_the_sender_back() {
    let log = TestLog::default();
    for error in [AppendError::Full, AppendError::Unavailable] {
        *log.refuses.lock() = Some(error);
        let mut links = links(log.clone());
        let (rejection, context) = links.send(entity(1), 10).expect_err("nothing was appended");
        assert_eq!((rejection.code, context, links.waiting()), (ErrorCode::Unavailable, 10, 0));
        assert!(rejection.retry_after_ms > 0);
    }
}

#[test]
fn a_failed_append_says_whether_it_may_still_happen() {
    let cases = [(AppendError::Unavailable, ErrorCode::Unavailable), (AppendError::Unknown, ErrorCode::OutcomeUnknown)];
    for (error, code) in cases {
        let log = TestLog::default();
        let mut links = links(log.clone());
        links.send(entity(1), 10).expect("there is room");
        assert!(links.poll().is_none());
        log.confirm(0, Err(error));
        let Some(Arrived::Command { waiting: 10, outcome: Err(rejection) }) = links.poll() else {
            panic!("the sender is told")
        };
        assert_eq!(rejection.code, code);
        assert_eq!(links.waiting(), 0);
    }
}

#[test]
fn what_has_no_room_is_refused() {
    let mut links = links(TestLog::default());
    for n in 0..8 {
        links.send(entity(n), 1).expect("there is room");
    }
    let (rejection, _) = links.send(entity(9), 1).expect_err("eight may wait");
    assert_eq!(rejection.code, ErrorCode::Unavailable);
    assert!(links.admit(0, user(1), entity(1), None, None, 1).is_err());
    assert!(!links.has_room());
}

#[test]
fn however_many_signals_wait_questions_find_room() {
    let mut links = links(TestLog::default());
    let chat = ChatId::direct(user(1), user(2));
    for _ in 0..100 {
        links.signal(chat, user(1), SignalKind::TYPING, Bytes::new());
    }
    for question in 0..2 {
        links.admit(0, user(1), chat.into(), None, None, question).expect("signals leave room");
    }
    let (rejection, context) = links.admit(0, user(1), chat.into(), None, None, 2).expect_err("four may wait");
    assert_eq!((rejection.code, context), (ErrorCode::Unavailable, 2));
    let ups = links.ups();
    assert_eq!(ups.iter().filter(|up| matches!(up, Up::Signal { .. })).count(), 2);
    assert_eq!(ups.len(), 4);
}

#[test]
fn an_old_shard_takes_no_commands() {
    let mut links = links(TestLog::default());
    let shard = entity(1).shard(SHARDS);
    assert!(links.arrive(Down::Backlog { shard, age_ms: 5_001 }).is_none());
    let (rejection, _) = links.send(entity(1), 1).expect_err("its oldest command waits for more than 5 s");
    assert_eq!(rejection.code, ErrorCode::Backlogged);
    assert!(links.arrive(Down::Backlog { shard, age_ms: 0 }).is_none());
    links.send(entity(1), 1).expect("it has caught up");
}

#[test]
fn what_is_not_answered_in_time_is_over() {
    let log = TestLog::default();
    let mut links = links(log.clone());
    links.send(entity(1), 1).expect("there is room");
    links.admit(5, user(1), entity(1), None, None, 2).expect("there is room");
    links.read(9, user(1), entity(1), ReadQuery::Info, 3).expect("there is room");
    assert!(links.expire(9_999).is_none());
    let code = |arrived: Option<Arrived<'static, u32>>| match arrived.expect("its time is over") {
        Arrived::Command { waiting, outcome: Err(rejection) } => (waiting, rejection.code),
        Arrived::Admission { waiting, outcome: Err(rejection) } => (waiting, rejection.code),
        Arrived::Read { waiting, outcome: Err(rejection) } => (waiting, rejection.code),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(links.expire(10_000)), (1, ErrorCode::OutcomeUnknown));
    assert!(links.expire(10_004).is_none());
    assert_eq!(code(links.expire(10_009)), (2, ErrorCode::Unavailable));
    assert_eq!(code(links.expire(10_009)), (3, ErrorCode::Unavailable));
    assert_eq!(links.waiting(), 0);
}

#[test]
fn parts_come_before_the_last() {
    let mut links = links(TestLog::default());
    links.read(0, user(1), entity(1), ReadQuery::Info, 3).expect("there is room");
    let [Up::Read(Read { token, .. })] = links.ups()[..] else { panic!("a read was asked for") };
    let part = |last| Down::Read(ReadReply { token, last, body: Ok(Bytes::from_static(b"part")) });
    assert!(matches!(links.arrive(part(false)), Some(Arrived::Part { waiting: 3, .. })));
    assert!(matches!(links.arrive(part(true)), Some(Arrived::Read { waiting: 3, outcome: Ok(_) })));
    assert!(links.arrive(part(true)).is_none());
}

#[test]
fn frames_of_an_owner_that_lost_the_shard_are_dropped() {
    let mut links = links(TestLog::default());
    assert!(links.owner(entity(1), 5));
    let head =
        |generation| Down::Head { generation: Generation(generation), entity: entity(1), head: Seq(9), readmit: false };
    assert!(links.arrive(head(4)).is_none());
    assert!(matches!(links.arrive(head(5)), Some(Arrived::Head { .. })));
    assert!(!links.owner(entity(1), 4));
    links.admit(0, user(1), entity(1), None, None, 1).expect("there is room");
    let [Up::Admit(Admit { token, .. })] = links.ups()[..] else { panic!("an admission was asked for") };
    assert!(links.arrive(admitted(token, entity(1), 4)).is_none(), "and the question still waits");
    assert!(matches!(links.arrive(admitted(token, entity(1), 5)), Some(Arrived::Admission { waiting: 1, .. })));
}

#[test]
fn the_highest_watermark_of_a_shard_is_kept_for_its_next_owner() {
    let mut links = links(TestLog::default());
    let (shard, other) = (ShardId(1), ShardId(2));
    let at = |epoch, offset| Position { epoch, offset };
    let mut tell = |shard, generation, position| {
        let down = Down::Watermark { shard, generation: Generation(generation), position };
        assert!(links.arrive(down).is_none());
        (links.watermark(ShardId(1)), links.watermark(ShardId(2)))
    };
    assert_eq!(tell(shard, 5, at(1, 70)), (Some(at(1, 70)), None));
    assert_eq!(tell(shard, 4, at(1, 90)).0, Some(at(1, 70)), "of an owner that lost the shard");
    assert_eq!(tell(shard, 5, at(1, 60)).0, Some(at(1, 70)));
    assert_eq!(tell(shard, 6, at(2, 3)).0, Some(at(2, 3)));
    assert_eq!(tell(other, 1, at(1, 8)), (Some(at(2, 3)), Some(at(1, 8))));
}

#[test]
fn a_new_owner_is_asked_again_for_what_waits() {
    let log = TestLog::default();
    let mut links = links(log.clone());
    // Two entities of one shard and one of another.
    let mut by_shard: HashMap<ShardId, Vec<u8>> = HashMap::new();
    (0..40).for_each(|n| by_shard.entry(entity(n).shard(SHARDS)).or_default().push(n));
    let moved = &by_shard[&entity(0).shard(SHARDS)];
    let (one, two) = (entity(moved[0]), entity(moved[1]));
    let elsewhere = entity((0..40).find(|n| !moved.contains(n)).expect("a shard has not all"));

    links.send(one, 1).expect("there is room");
    links.send(elsewhere, 2).expect("there is room");
    log.confirm(0, Ok(40));
    log.confirm(0, Ok(41));
    assert!(links.poll().is_none());
    let member = Membership { at: Seq(3), role: Role::Member, visible_from: Seq(1) };
    links.admit(0, user(1), two, None, Some(member), 3).expect("there is room");
    let went_up = links.ups();
    // Not gone up yet when the owner changes: it goes up once.
    links.read(0, user(1), one, ReadQuery::Info, 4).expect("there is room");

    assert!(links.owner(one, 7));
    let again = links.ups();
    assert!(
        matches!(&again[..], [Up::Ask { entity, position: Position { offset: 40, .. }, .. }, admit, Up::Read(_)]
            if *entity == one && *admit == went_up[0]),
        "{again:?}"
    );
    assert!(links.owner(one, 8));
    assert_eq!(links.ups().len(), 3, "the next owner is asked the same");
}

#[test]
fn a_command_whose_place_was_not_known_is_asked_about_once_it_is() {
    let log = TestLog::default();
    let mut links = links(log.clone());
    links.send(entity(1), 1).expect("there is room");
    assert!(links.owner(entity(1), 7));
    assert!(links.ups().is_empty());
    log.confirm(0, Ok(40));
    assert!(links.poll().is_none());
    assert!(matches!(links.ups()[..], [Up::Ask { position: Position { offset: 40, .. }, .. }]));
}

#[test]
fn a_command_is_asked_about_in_the_epoch_in_which_it_was_appended() {
    let log = TestLog::default();
    let mut links = links(log.clone());
    let of_epoch = |epoch: u32| Generation::of(Position { epoch, offset: 9 }).0;
    let epochs = |ups: Vec<Up>| -> Vec<(u32, u64)> {
        let place = |up| match up {
            Up::Ask { position, .. } => (position.epoch, position.offset),
            other => panic!("{other:?} asks about no command"),
        };
        ups.into_iter().map(place).collect()
    };
    // No owner was heard of: the log's own word, which an edge's log says before it knows.
    links.send(entity(1), 1).expect("there is room");
    log.confirm(0, Ok(40));
    assert!(links.poll().is_none());
    assert!(links.owner(entity(1), of_epoch(2)));
    assert_eq!(epochs(links.ups()), [(1, 40)]);
    links.send(entity(1), 2).expect("there is room");
    links.send(entity(1), 3).expect("there is room");
    log.confirm(0, Ok(41));
    assert!(links.poll().is_none());
    // An epoch that was opened since is not named: the record may be in the log before.
    assert!(links.owner(entity(1), of_epoch(3)));
    let mut asked = epochs(links.ups());
    asked.sort_unstable();
    assert_eq!(asked, [(1, 40), (2, 41)]);
    log.confirm(0, Ok(7));
    assert!(links.poll().is_none());
    assert_eq!(epochs(links.ups()), [(2, 7)]);
}

#[test]
fn a_read_that_was_begun_is_refused_when_its_owner_is_gone() {
    let mut links = links(TestLog::default());
    links.read(0, user(1), entity(1), ReadQuery::Info, 3).expect("there is room");
    let [Up::Read(Read { token, .. })] = links.ups()[..] else { panic!("a read was asked for") };
    let part = Down::Read(ReadReply { token, last: false, body: Ok(Bytes::from_static(b"part")) });
    assert!(matches!(links.arrive(part), Some(Arrived::Part { .. })));
    assert!(links.owner(entity(1), 7));
    assert!(links.ups().is_empty());
    let Some(Arrived::Read { waiting: 3, outcome: Err(rejection) }) = links.expire(0) else { panic!("it is refused") };
    assert_eq!(rejection.code, ErrorCode::Unavailable);
    assert!(links.expire(u64::MAX).is_none());
}

#[test]
fn however_often_the_owner_changes_nothing_waits_twice_to_go_up() {
    let log = TestLog::default();
    let mut links = links(log.clone());
    links.send(entity(1), 1).expect("there is room");
    log.confirm(0, Ok(40));
    assert!(links.poll().is_none());
    links.admit(0, user(1), entity(1), None, None, 2).expect("there is room");
    let (device, session) = (DeviceId::from_random([1; 16]), SessionId::from_random([1; 16]));
    for generation in 1..=5 {
        assert!(links.owner(entity(1), generation));
        links.attach(user(1), device, session);
    }
    assert!(matches!(links.ups()[..], [Up::Ask { .. }, Up::Admit(_), Up::Attach { .. }]));
}
