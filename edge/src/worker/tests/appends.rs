//! What became of appends, while other things keep a worker busy.

use std::cell::RefCell;

use panda_protocol::event::MessageFormat;
use panda_protocol::frame::{Command as ClientCommand, CommandBody, RequestId};
use panda_protocol::link::{Down, Up};
use panda_protocol::{ChatId, Counter, Generation, ShardId};
use tokio::sync::{Notify, mpsc};
use tokio::task::yield_now;

use super::super::serve_until_stop;
use super::router::Router;
use super::sessions::open;
use super::{Fixture, user};
use crate::config::SessionLimits;

#[tokio::test(start_paused = true)]
async fn what_became_of_an_append_is_heard_however_much_comes_down() {
    let (mut fixture, mut router) = (Fixture::new(SessionLimits::default()), Router::default());
    let key = open(&mut fixture, &mut router, 1);
    let body = CommandBody::Send { format: MessageFormat::Text, text: "hi".into() };
    let entity = ChatId::direct(user(1), user(2)).into();
    let (counter, after) = (Counter(1), Counter(0));
    fixture.hear(key, ClientCommand { request: RequestId(1), entity, counter, after, body, trace: None });
    let core = RefCell::new(fixture.core);
    let (up, mut ups) = mpsc::channel(64);
    let (downs, mut down) = mpsc::channel(64);
    let (_commands, mut commands) = mpsc::channel(1);
    // A command is asked about only once its place in the log is known.
    downs.try_send(vec![Down::Owner { shard: ShardId(0), generation: Generation(2) }]).unwrap();
    let flood = async { while downs.send(vec![Down::Backlog { shard: ShardId(0), age_ms: 0 }]).await.is_ok() {} };
    let asked = async {
        loop {
            if let Some(Up::Ask { position, .. }) = ups.recv().await {
                return position;
            }
        }
    };
    let many_turns = async {
        for _ in 0..1_000 {
            yield_now().await;
        }
    };
    let stirred = Notify::new();
    tokio::select! {
        biased;
        _ = serve_until_stop(&core, &up, &mut down, &mut commands, &stirred) => panic!("nobody stopped it"),
        position = asked => assert_eq!(position.offset, 0),
        () = flood => panic!("it is listened to"),
        () = many_turns => panic!("the append was not heard of"),
    }
}
