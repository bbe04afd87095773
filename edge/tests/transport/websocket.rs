//! An upgraded connection, spoken to byte by byte and with a third party's client.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use panda_edge::transport::socket::Socket;
use panda_edge::transport::websocket::WebSocket;
use panda_edge::transport::{Outgoing, Transport as _, TransportError};
use panda_protocol::ErrorCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::support::{body_of, close, frame, recv, recv_max, refused, send, tcp_pair, within};

const BINARY: u8 = 0x82;

async fn pair() -> (WebSocket<TcpStream>, TcpStream) {
    let (server, _, client) = tcp_pair().await;
    (WebSocket::upgraded(server, Bytes::new()), client)
}

/// A frame of a client, masked.
fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | u8::try_from(len).unwrap()),
        len @ 126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(len).unwrap().to_be_bytes());
        }
        len => {
            bytes.push(0x80 | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let key = [0x12, 0x34, 0x56, 0x78];
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The code with which these bytes end a connection.
async fn code_of(bytes: &[u8]) -> Option<ErrorCode> {
    let (mut socket, mut client) = pair().await;
    client.write_all(bytes).await.unwrap();
    refused(&mut socket).await
}

#[tokio::test]
async fn a_text_message_is_refused_with_its_code() {
    assert_eq!(code_of(&masked(0x81, b"hello")).await, Some(ErrorCode::TextMessage));
    assert_eq!(code_of(&masked(0x01, b"")).await, Some(ErrorCode::TextMessage));
}

#[tokio::test]
async fn an_oversized_frame_is_refused_at_its_length() {
    // The length alone: nothing behind it was sent.
    assert_eq!(code_of(&masked(0x02, &[0x80, 1, 0, 1])).await, Some(ErrorCode::FrameTooLarge));
    let (mut socket, mut client) = pair().await;
    client.write_all(&masked(0x02, &[0x50, 1])).await.unwrap();
    let error = recv_max(&mut socket, 4_096).await.unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::FrameTooLarge));
}

#[tokio::test]
async fn a_broken_rule_of_websocket_is_malformed() {
    let mut unmasked = masked(BINARY, &frame(1));
    unmasked[1] &= 0x7f;
    let long = |short: u8, rest: &[u8]| [&[BINARY, 0x80 | short], rest, &[0; 4]].concat();
    for (what, bytes) in [
        ("not masked", unmasked),
        ("a reserved bit", masked(0xc2, &frame(1))),
        ("an unknown data opcode", masked(0x83, b"")),
        ("an unknown control opcode", masked(0x8b, b"")),
        ("a fragmented ping", masked(0x09, b"")),
        ("a long ping", masked(0x89, &[0; 126])),
        ("a second fragment first", masked(0x80, &frame(1))),
        ("a message inside a message", [masked(0x02, &frame(1)[..1]), masked(BINARY, &frame(1))].concat()),
        ("half a close status", masked(0x88, &[3])),
        ("a close with a reason that is not UTF-8", masked(0x88, &[0x03, 0xe8, 0xff])),
        ("a long 16 bit length", long(126, &125_u16.to_be_bytes())),
        ("a long 64 bit length", long(127, &65_535_u64.to_be_bytes())),
        ("a length above 63 bits", long(127, &u64::MAX.to_be_bytes())),
        ("a frame over two messages", [masked(BINARY, &frame(9)[..4]), masked(BINARY, &frame(9)[4..])].concat()),
        ("an empty frame", masked(BINARY, &[0])),
        ("an empty message", masked(BINARY, b"")),
        ("an empty message of two fragments", [masked(0x02, b""), masked(0x80, b"")].concat()),
        ("a long varint", masked(BINARY, &[0x40, 1])),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ] {
        assert_eq!(code_of(&bytes).await, Some(ErrorCode::Malformed), "{what}");
    }
}

#[tokio::test]
async fn a_close_has_a_status_that_peers_may_send() {
    for status in [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000_u16] {
        assert_eq!(code_of(&masked(0x88, &status.to_be_bytes())).await, Some(ErrorCode::Malformed), "{status}");
    }
    for status in [1000, 1003, 1007, 1014, 3000, 4999_u16] {
        assert_eq!(code_of(&masked(0x88, &status.to_be_bytes())).await, None, "{status}");
    }
    assert_eq!(code_of(&masked(0x88, b"")).await, None, "without a status");
}

#[tokio::test]
async fn fragments_and_control_frames_between_them_make_one_message() {
    let (mut socket, mut client) = pair().await;
    let whole = [frame(300), frame(0), frame(5)].concat();
    let mut bytes = masked(0x02, &whole[..1]);
    bytes.extend(masked(0x89, b"are you there?"));
    bytes.extend(masked(0x00, b""));
    bytes.extend(masked(0x00, &whole[1..200]));
    bytes.extend(masked(0x8a, b""));
    bytes.extend(masked(0x80, &whole[200..]));
    client.write_all(&bytes).await.unwrap();
    for len in [300, 0, 5] {
        assert_eq!(recv(&mut socket).await.unwrap().body, body_of(&frame(len), len));
    }
    assert!(socket.heard() && !socket.heard());
    let mut pong = [0; 16];
    within(client.read_exact(&mut pong)).await.unwrap();
    assert_eq!(&pong, b"\x8a\x0eare you there?");
    assert_eq!(socket.buffered(), 0);
}

#[tokio::test]
async fn a_byte_by_byte_client_is_understood() {
    let (mut socket, mut client) = pair().await;
    let bytes = [masked(BINARY, &[frame(200), frame(1)].concat()), masked(0x89, b"x")].concat();
    let sender = async {
        for byte in bytes {
            client.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    let receiver = async {
        assert_eq!(recv(&mut socket).await.unwrap().body.len(), 200);
        assert_eq!(recv(&mut socket).await.unwrap().body.len(), 1);
    };
    tokio::join!(sender, receiver);
}

#[tokio::test]
async fn a_large_message_of_many_frames_needs_no_large_buffer() {
    let (mut socket, mut client) = pair().await;
    let count = 20_000;
    let message = masked(BINARY, &frame(100).repeat(count));
    let sender = async { client.write_all(&message).await.unwrap() };
    let receiver = async {
        for _ in 0..count {
            assert_eq!(recv(&mut socket).await.unwrap().body.len(), 100);
            assert!(socket.buffered() <= 17 * 1024, "{}", socket.buffered());
        }
    };
    tokio::join!(sender, receiver);
    assert_eq!(socket.buffered(), 0, "an idle connection holds no buffer");
}

#[tokio::test]
async fn a_fast_sender_lets_others_run() {
    let (mut socket, mut client) = pair().await;
    let sender = tokio::spawn(async move {
        client.write_all(&masked(BINARY, &frame(60_000).repeat(20))).await.unwrap();
        client
    });
    let (mut turns, mut frames) = (0, 0);
    within(poll_fn(|cx| {
        while frames < 20 {
            match socket.poll_recv(cx, 65_536) {
                Poll::Ready(frame) => frames += usize::from(frame.is_ok()),
                Poll::Pending => {
                    turns += 1;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }))
    .await;
    assert!(turns >= 15, "{turns} turns for 1.2 MB");
    drop(sender.await.unwrap());
}

#[tokio::test]
async fn partial_writes_keep_the_stream_whole_under_a_slow_reader() {
    let (mut socket, mut client) = pair().await;
    let whole = frame(50_000);
    let mut queue: VecDeque<_> = (0..400).map(|_| Outgoing::new(&whole)).collect();
    poll_fn(|cx| {
        assert!(socket.poll_send(cx, &mut queue).is_pending(), "20 MB went into a socket that nobody reads");
        Poll::Ready(())
    })
    .await;
    let taken = 400 - queue.len();
    assert!(taken > 0 && socket.buffered() <= whole.len() + 10);
    // A slow consumer's queue is cut; a ping comes in meanwhile.
    queue.clear();
    queue.push_back(Outgoing::new(&frame(2)));
    client.write_all(&[masked(0x89, b"x"), masked(BINARY, &frame(1))].concat()).await.unwrap();
    assert_eq!(recv(&mut socket).await.unwrap().body.len(), 1);
    let server = async {
        send(&mut socket, &mut queue).await.unwrap();
        close(&mut socket, ErrorCode::Going).await;
    };
    let reader = async {
        let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let mut got = Vec::new();
        while let Some(message) = within(client.next()).await {
            got.push(message.unwrap());
        }
        got
    };
    let ((), got) = tokio::join!(server, reader);
    let binary: Vec<_> = got.iter().filter(|message| message.is_binary()).cloned().map(Message::into_data).collect();
    assert_eq!(binary.len(), taken + 1);
    assert!(binary[..taken].iter().all(|bytes| *bytes == whole));
    assert_eq!(binary[taken], frame(2));
    assert_eq!(got.iter().filter(|message| message.is_pong()).count(), 1);
}

#[tokio::test]
async fn a_third_partys_client_talks_and_is_told_goodbye() {
    let (mut socket, client) = pair().await;
    let mut client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    for len in [0, 1, 125, 126, 65_535] {
        let (sent, got) = tokio::join!(client.send(Message::Binary(frame(len))), recv(&mut socket));
        sent.unwrap();
        assert_eq!(got.unwrap().body, body_of(&frame(len), len));
        let (sent, got) = tokio::join!(
            async { send(&mut socket, &mut VecDeque::from([Outgoing::new(&frame(len))])).await },
            within(client.next())
        );
        sent.unwrap();
        assert_eq!(got.unwrap().unwrap().into_data(), frame(len));
    }
    let reader = async {
        let goodbye = within(client.next()).await.unwrap().unwrap();
        assert!(within(client.next()).await.is_none());
        drop(client);
        goodbye
    };
    let ((), goodbye) = tokio::join!(close(&mut socket, ErrorCode::Going), reader);
    let Message::Close(Some(goodbye)) = goodbye else { panic!("{goodbye:?}") };
    assert_eq!(u16::from(goodbye.code), 1000);
    assert!(matches!(send(&mut socket, &mut VecDeque::new()).await, Err(TransportError::Closed)));
}

#[tokio::test]
async fn a_close_is_answered_and_the_session_over() {
    let (mut socket, mut client) = pair().await;
    client.write_all(&masked(0x88, &[0x03, 0xe9, b'!'])).await.unwrap();
    assert!(matches!(recv(&mut socket).await, Err(TransportError::Closed)));
    let mut answer = Vec::new();
    let server = close(&mut socket, ErrorCode::Going);
    let reader = async {
        within(client.read_to_end(&mut answer)).await.unwrap();
        drop(client);
    };
    tokio::join!(server, reader);
    assert_eq!(answer, [0x88, 2, 0x03, 0xe9]);
}

#[tokio::test]
async fn a_peer_that_goes_away_is_closed() {
    let (mut socket, client) = pair().await;
    drop(client);
    assert!(matches!(recv(&mut socket).await, Err(TransportError::Closed)));
}

#[tokio::test]
async fn an_answer_leaves_without_anything_else_to_send() {
    // A pipe that takes five bytes at a time: the pong leaves in pieces, by reading alone.
    let (server, mut client) = tokio::io::duplex(5);
    let mut socket = WebSocket::upgraded(server, Bytes::new());
    let talking = async {
        client.write_all(&masked(0x89, b"are you there?")).await.unwrap();
        let mut pong = [0; 16];
        within(client.read_exact(&mut pong)).await.unwrap();
        drop(client);
        pong
    };
    let (ended, pong) = tokio::join!(recv(&mut socket), talking);
    assert!(matches!(ended, Err(TransportError::Closed)));
    assert_eq!(&pong, b"\x8a\x0eare you there?");
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<WebSocket<Socket>>();
    assert!(size <= size_of::<Socket>() + 16, "{size} bytes");
}

#[tokio::test]
async fn frames_that_came_with_the_request_are_not_lost() {
    let (server, _, mut client) = tcp_pair().await;
    let bytes = masked(BINARY, &[frame(3), frame(4)].concat());
    let (early, late) = bytes.split_at(9);
    let mut socket = WebSocket::upgraded(server, Bytes::copy_from_slice(early));
    client.write_all(late).await.unwrap();
    assert_eq!(recv(&mut socket).await.unwrap().body.len(), 3);
    assert_eq!(recv(&mut socket).await.unwrap().body.len(), 4);
}
