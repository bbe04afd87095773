//! How many chats a user may be in.

use panda_client::{RequestError, TransportKind};
use panda_protocol::event::{EventBody, Role};
use panda_protocol::frame::CommandBody;
use panda_protocol::{ErrorCode, Seq};

use super::support::{Server, user};

fn code<T: std::fmt::Debug>(outcome: Result<T, RequestError>) -> u16 {
    match outcome.unwrap_err() {
        RequestError::Refused { code, .. } => code,
        other => panic!("{other:?} is no refusal"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_in_as_many_chats_as_allowed_gets_into_no_other_before_leaving_one() {
    let server = Server::with(|config| {
        config.link.user_chats_max = 2;
        // However slow the machine is, owners are heard before anything is appended unasked.
        config.link.withheld_ms = 600_000;
    })
    .await;
    let mut ada = server.join(user(), TransportKind::WebSocket).await;
    let ben = server.join(user(), TransportKind::Quic).await;
    let full = ErrorCode::LimitReached as u16;
    let (tea, _) = ada.client.create_group("tea".into(), Vec::new()).await.unwrap();
    let (both, _) = ada.client.create_group("both".into(), vec![ben.user]).await.unwrap();
    // Chats count once the inbox knows of them.
    ada.event(ada.user, Seq(2)).await;
    assert_eq!(code(ada.client.create_group("one more".into(), Vec::new()).await), full);
    assert_eq!(code(ada.client.create_direct(ben.user).await), full);
    assert_eq!(code(ben.client.create_direct(ada.user).await), full);
    assert_eq!(code(ben.client.create_group("ours".into(), vec![ada.user]).await), full);
    let (ours, _) = ben.client.create_group("ours".into(), Vec::new()).await.unwrap();
    let add = |member| CommandBody::AddMembers { role: Role::Member, with_history: false, members: vec![member] };
    let added = ben.client.submit(ours.into(), add(ada.user)).await.unwrap().outcome().await;
    assert_eq!(code(added), full);
    // Who would not come into another chat is not counted, and where she may not be added, that is the answer.
    let again = ada.client.submit(both.into(), add(ada.user)).await.unwrap().outcome().await;
    assert_eq!(code(again), ErrorCode::NothingToDo as u16);
    let unasked = ben.client.submit(both.into(), add(user())).await.unwrap().outcome().await;
    assert_eq!(code(unasked), ErrorCode::Forbidden as u16);

    let leave = CommandBody::RemoveMembers { members: vec![ada.user] };
    ada.client.submit(tea.into(), leave).await.unwrap().outcome().await.unwrap();
    assert!(matches!(ada.event(ada.user, Seq(3)).await.body, EventBody::ChatLeft { chat, .. } if chat == tea));
    let (_, made) = ada.client.create_group("one more".into(), Vec::new()).await.unwrap();
    assert_eq!(made, Seq(1));
    server.stop().await;
}
