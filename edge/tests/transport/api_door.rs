//! The door of a process without sessions.

use std::net::SocketAddr;

use panda_access::FleetSecret;
use panda_edge::admission::AdmissionLimits;
use panda_edge::api_door::{ApiDoor, open};
use panda_edge::transport::handover::HandedOver;
use panda_edge::transport::tls::Identity;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{connector, upgrade_head, within};

const ANYWHERE: &str = "127.0.0.1:0";

fn door(limits: AdmissionLimits, queue: usize) -> (ApiDoor, mpsc::Receiver<HandedOver>) {
    let (handed_over, handed) = mpsc::channel(queue);
    (open(ANYWHERE.parse().unwrap(), None, limits, handed_over).unwrap(), handed)
}

async fn ask(address: SocketAddr, head: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(head.as_bytes()).await.unwrap();
    client
}

async fn says(mut client: TcpStream) -> String {
    let mut said = String::new();
    within(client.read_to_string(&mut said)).await.unwrap();
    said
}

#[tokio::test]
async fn every_request_is_the_apis_even_one_for_a_websocket() {
    let (door, mut handed) = door(AdmissionLimits::default(), 8);
    let upgrade = upgrade_head(|head| head);
    for head in ["GET /chats HTTP/1.1\r\nHost: a\r\n\r\n", &upgrade] {
        let client = ask(door.address(), head).await;
        let came = within(handed.recv()).await.unwrap();
        assert_eq!(came.head, head.as_bytes());
        assert_eq!(came.peer, client.local_addr().unwrap());
    }
}

#[tokio::test]
async fn a_crowd_of_one_address_is_refused_and_what_the_api_has_no_room_for_is_counted() {
    let limits = AdmissionLimits { connections_per_address_max: 2, ..AdmissionLimits::default() };
    let (door, mut handed) = door(limits, 1);
    let mut registry = Registry::default();
    door.register(&mut registry);
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let _one = ask(door.address(), head).await;
    within(async {
        while handed.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // The queue is full: it is closed without a word.
    assert_eq!(says(ask(door.address(), head).await).await, "");
    let mut figures = String::new();
    prometheus_client::encoding::text::encode(&mut figures, &registry).unwrap();
    assert!(figures.contains("panda_api_handover_dropped_total 1"), "{figures}");
    let came = within(handed.recv()).await.unwrap();
    let _two = ask(door.address(), head).await;
    let _came_too = within(handed.recv()).await.unwrap();
    // It asks nothing: what comes behind the answer would reset the connection, and the answer may be lost.
    let turned_away = TcpStream::connect(door.address()).await.unwrap();
    assert!(says(turned_away).await.starts_with("HTTP/1.1 429 "));
    drop(came);
}

#[tokio::test]
async fn who_has_as_many_http_connections_as_one_address_may_is_told_and_the_next_one_is_let_in_when_one_is_gone() {
    let (door, mut handed) =
        door(AdmissionLimits { http_connections_per_address_max: 1, ..AdmissionLimits::default() }, 8);
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let _one = ask(door.address(), head).await;
    let came = within(handed.recv()).await.unwrap();
    assert!(says(ask(door.address(), head).await).await.starts_with("HTTP/1.1 429 "));
    drop(came);
    let _two = ask(door.address(), head).await;
    within(handed.recv()).await.unwrap();
}

#[tokio::test]
async fn a_closed_door_lets_nobody_in_and_those_inside_go_on_under_tls() {
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity::development(folder.path()).unwrap();
    let tls = identity.https_config(&FleetSecret::generate().unwrap()).unwrap();
    let (handed_over, mut handed) = mpsc::channel(8);
    let limits = AdmissionLimits::default();
    let mut door = open(ANYWHERE.parse().unwrap(), Some(tls), limits, handed_over).unwrap();
    let address = door.address();
    let bare = TcpStream::connect(address).await.unwrap();
    let mut client = within(connector(folder.path()).connect("localhost".try_into().unwrap(), bare)).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut came = within(handed.recv()).await.unwrap().adopt().unwrap();
    assert!(came.socket.is_secure());
    door.close();
    // It is closed a moment later.
    within(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    came.socket.write_all(b"still here").await.unwrap();
    came.socket.flush().await.unwrap();
    let mut said = [0; 10];
    within(client.read_exact(&mut said)).await.unwrap();
    assert_eq!(&said, b"still here");
}

#[tokio::test]
async fn a_taken_address_is_refused() {
    let (taken, _handed) = door(AdmissionLimits::default(), 1);
    let refused = open(taken.address(), None, AdmissionLimits::default(), mpsc::channel(1).0).unwrap_err();
    assert!(refused.to_string().contains("for the HTTP API"), "{refused}");
}
