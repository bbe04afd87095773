//! Awaiting answers over channels, with a router that the test plays.

use panda_protocol::frame::ErrorDetails;
use panda_protocol::limits::USER_CHATS_MAX;
use panda_protocol::link::{Answer, CommandOrigin, LinkId, Outcome, ReadReply, Record};
use panda_protocol::{ChatId, Generation, Time};
use panda_storage::ShardReader as _;
use panda_storage::embedded::EmbeddedLog;

use super::*;
use crate::links::LinkLimits;

const LINK: LinkId = LinkId(7);

struct Router {
    log: EmbeddedLog,
    up: mpsc::Receiver<Up>,
    down: mpsc::Sender<Vec<Down>>,
}

fn client() -> (LinkClient, Router) {
    let log = EmbeddedLog::new(1, 1, || Time(1));
    let (up, up_receiver) = mpsc::channel(8);
    let (down, down_receiver) = mpsc::channel(8);
    let links = Links::new(log.clone(), LINK, 0, LinkLimits::default());
    let (client, driver) = LinkClient::new(links, up, down_receiver);
    tokio::spawn(driver.run());
    (client, Router { log, up: up_receiver, down })
}

fn user() -> UserId {
    UserId::from_random([1; 16])
}

async fn rename(client: LinkClient) -> Result<Seq, CommandRefused> {
    let body = CommandBody::Rename { name: "tea".into() };
    client.command(user(), DeviceId::from_random([1; 16]), user().into(), Counter(1), Counter(0), &body, None).await
}

impl Router {
    /// The origin of the command at this place of the log, once it is there.
    async fn command(&self, at: usize) -> CommandOrigin {
        let mut reader = self.log.read(panda_protocol::ShardId(0), None).await.expect("the shard exists");
        let mut records = Vec::new();
        while records.len() <= at {
            records.extend(reader.next(16).await.expect("the log can be read"));
        }
        match Record::from_bytes(records.swap_remove(at).record) {
            Ok(Record::Command(command)) => command.origin,
            other => panic!("{other:?} is no command"),
        }
    }

    async fn read(&self, token: u64, body: Writer) {
        let reply = Down::Read(ReadReply { token, last: true, body: Ok(body.freeze()) });
        self.down.send(vec![reply]).await.expect("the client lives");
    }

    async fn answer(&self, token: u64, outcome: Outcome) {
        let answer = Down::Answer(Answer { token, generation: Generation(1), outcome });
        self.down.send(vec![answer]).await.expect("the client lives");
    }
}

#[tokio::test]
async fn each_command_gets_its_own_answer() {
    let (client, router) = client();
    let first = tokio::spawn(rename(client.clone()));
    let one = router.command(0).await;
    let second = tokio::spawn(rename(client));
    let two = router.command(1).await;
    assert_eq!((one.link, two.link), (LINK, LINK));
    let details = Some(ErrorDetails { counter: Counter(1), seq: Seq(5) });
    let rejection = Rejection { details, ..Rejection::new(ErrorCode::OutOfOrder) };
    router.answer(two.token, Outcome::Rejected(rejection)).await;
    router.answer(one.token, Outcome::Applied(Seq(5))).await;
    assert_eq!(first.await.expect("it ends"), Ok(Seq(5)));
    assert_eq!(second.await.expect("it ends"), Err(rejection.into()));
}

#[tokio::test]
async fn whoever_is_in_too_many_chats_is_named() {
    let (client, mut router) = client();
    let device = DeviceId::from_random([1; 16]);
    let chat = EntityId::from(ChatId::group(user(), device, Counter(1)));
    let create = CommandBody::CreateGroup { name: "tea".into(), members: Vec::new() };
    let made =
        tokio::spawn(async move { client.command(user(), device, chat, Counter(1), Counter(0), &create, None).await });
    let Some(Up::Read(counted)) = router.up.recv().await else { panic!("a read was asked for") };
    assert_eq!((counted.entity, counted.query), (user().into(), ReadQuery::ChatCount));
    let mut body = Writer::default();
    body.varint(USER_CHATS_MAX as u64);
    router.read(counted.token, body).await;
    let Some(Up::Read(joining)) = router.up.recv().await else { panic!("a read was asked for") };
    let query = ReadQuery::Joining { device, counter: Counter(1), users: vec![user()] };
    assert_eq!((joining.entity, joining.query), (chat, query));
    let mut body = Writer::default();
    body.list(&[user()], Writer::value);
    router.read(joining.token, body).await;
    let refused = made.await.expect("it ends").expect_err("the limit is reached");
    assert_eq!((refused.code(), refused), (ErrorCode::LimitReached, CommandRefused::Full(vec![user()])));
}

#[tokio::test]
async fn a_read_brings_all_its_parts_in_order() {
    let (client, mut router) = client();
    let read = tokio::spawn(async move { client.read(user(), user().into(), ReadQuery::Info).await });
    let Some(Up::Read(asked)) = router.up.recv().await else { panic!("a read was asked for") };
    let part = |text: &'static str, last| {
        Down::Read(ReadReply { token: asked.token, last, body: Ok(Bytes::from_static(text.as_bytes())) })
    };
    router.down.send(vec![part("one", false), part("two", false)]).await.expect("the client lives");
    router.down.send(vec![part("three", true)]).await.expect("the client lives");
    assert_eq!(read.await.expect("it ends").expect("it is answered"), ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn the_first_call_after_a_long_rest_has_all_its_time() {
    let (client, mut router) = client();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let read = tokio::spawn(async move { client.read(user(), user().into(), ReadQuery::Info).await });
    let Some(Up::Read(asked)) = router.up.recv().await else { panic!("a read was asked for") };
    tokio::time::sleep(Duration::from_secs(1)).await;
    router.read(asked.token, Writer::default()).await;
    assert!(read.await.expect("it ends").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_answers_may_still_happen() {
    let (client, _router) = client();
    let outcome = rename(client).await;
    assert_eq!(outcome.expect_err("nobody answers").code(), ErrorCode::OutcomeUnknown);
}

#[tokio::test]
async fn without_a_router_nothing_is_waited_for() {
    let (client, router) = client();
    drop(router);
    let read = client.read(user(), user().into(), ReadQuery::Info).await;
    assert_eq!(read.expect_err("the router is gone").code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_context_goes_beside_the_command_and_changes_none_of_its_bytes() {
    let (client, router) = client();
    let trace = TraceContext::new([1; 16], [2; 8], 1);
    let body = CommandBody::Rename { name: "tea".into() };
    for context in [None, trace] {
        let (client, body, device) = (client.clone(), body.clone(), DeviceId::from_random([1; 16]));
        tokio::spawn(async move {
            client.command(user(), device, user().into(), Counter(1), Counter(0), &body, context).await
        });
        tokio::task::yield_now().await;
    }
    let mut reader = router.log.read(panda_protocol::ShardId(0), None).await.expect("the shard exists");
    let mut records = Vec::new();
    while records.len() < 2 {
        records.extend(reader.next(16).await.expect("the log can be read"));
    }
    assert_eq!([records[0].headers.trace, records[1].headers.trace], [None, trace]);
    let bytes = |record: &panda_storage::LogRecord| match Record::from_bytes(record.record.clone()) {
        Ok(Record::Command(command)) => command.command,
        other => panic!("{other:?} is no command"),
    };
    assert_eq!(bytes(&records[0]), bytes(&records[1]));
}
