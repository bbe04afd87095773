//! A way between a client and a server that loses packets.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::UdpSocket;
use tokio::task::spawn_local;

/// Which packets are lost, counted from 0 each way. One towards the server is the client's.
pub(crate) type Loses = fn(Way, u64) -> bool;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToServer,
    ToClient,
}

/// Passes on what one client sends to `server` and what comes back, but for what is lost. Returns where the client
/// finds it.
pub(crate) async fn relay(server: SocketAddr, loses: Loses) -> SocketAddr {
    let outside = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let inside = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    inside.connect(server).await.unwrap();
    let address = outside.local_addr().unwrap();
    spawn_local(async move {
        let (mut there, mut back) = (vec![0; 2_048], vec![0; 2_048]);
        let (mut client, mut sent, mut answered) = (None, 0, 0);
        loop {
            tokio::select! {
                Ok((len, from)) = outside.recv_from(&mut there) => {
                    client = Some(from);
                    if !loses(Way::ToServer, sent) {
                        inside.send(&there[..len]).await.unwrap();
                    }
                    sent += 1;
                }
                Ok(len) = inside.recv(&mut back) => {
                    if let (Some(client), false) = (client, loses(Way::ToClient, answered)) {
                        outside.send_to(&back[..len], client).await.unwrap();
                    }
                    answered += 1;
                }
            }
        }
    });
    address
}
