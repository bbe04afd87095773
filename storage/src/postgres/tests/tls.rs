//! Encrypted connections. What stands before the server speaks TLS as Postgres does, so that any test
//! server will do.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::server::database_of;
use super::*;

/// What a client sends first that wants TLS.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// A door with TLS before a server; its port and the PEM of its certificate.
async fn tls_door(server: SocketAddr, name: &str) -> (u16, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut request = [0; 8];
                client.read_exact(&mut request).await?;
                assert_eq!(request, SSL_REQUEST, "a client spoke in the open");
                client.write_all(b"S").await?;
                let mut client = acceptor.accept(client).await?;
                tokio::io::copy_bidirectional(&mut client, &mut TcpStream::connect(server).await?).await
            });
        }
    });
    (port, made.cert.pem().into_bytes())
}

#[tokio::test]
async fn users_are_reached_over_tls() {
    with_database(async |server, url| {
        let (port, pem) = tls_door(server.address(), "localhost").await;
        let behind = server.url_at(SocketAddr::from(([127, 0, 0, 1], port)), database_of(url));
        let at_name = format!("{}?sslmode=require", behind.replace("127.0.0.1", "localhost"));
        let config = PostgresConfig { authorities_pem: Some(pem), ..PostgresConfig::new(at_name) };
        let store = PostgresUsers::open(&config, NOW).await.unwrap();
        store.create_user(new_user(1, "ada")).await.unwrap();
        assert!(open(url).await.credential(Username::parse("ada").unwrap()).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test]
async fn a_server_that_cannot_prove_who_it_is_is_not_spoken_to() {
    with_database(async |server, url| {
        let (port, pem) = tls_door(server.address(), "db.example.org").await;
        let behind = server.url_at(SocketAddr::from(([127, 0, 0, 1], port)), database_of(url));
        let config = PostgresConfig::new(format!("{behind}?sslmode=require"));
        // Another's certificate, then one of an authority that nobody believes.
        let other_name = PostgresConfig { authorities_pem: Some(pem), ..config.clone() };
        for config in [other_name, config] {
            let refused = PostgresUsers::open(&config, NOW).await.map(drop);
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_without_tls_is_not_spoken_to_in_the_open_where_tls_is_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refusing = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut request = [0; 8];
        client.read_exact(&mut request).await.unwrap();
        client.write_all(b"N").await.unwrap();
        let mut more = Vec::new();
        client.read_to_end(&mut more).await.unwrap();
        (request, more)
    });
    let config = PostgresConfig::new(format!("postgres://panda:sesame@{address}/panda?sslmode=require"));
    let refused = PostgresUsers::open(&config, NOW).await.map(drop);
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    assert_eq!(refusing.await.unwrap(), (SSL_REQUEST, Vec::new()));
}
