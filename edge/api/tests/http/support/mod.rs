//! A running API over loopback, a client that writes HTTP by hand, and chats in memory behind it.

mod chats;
mod client;
#[path = "../../../../tests/support/forger.rs"]
mod forger;
mod held_cache;
mod provider;
mod smtp_sink;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use panda_access::FleetSecret;
use panda_api::{ApiConfig, Bootstrap, Connection, MailConfig, Metrics, Parts, bootstrap, serve};
use panda_protocol::{Time, UserId};
use panda_storage::embedded::{MemoryCache, SqliteUsers};
use panda_storage::redis::{RedisCache, RedisConfig};
use panda_storage::user_store::WhichLogins;
use panda_storage::{Cache, PictureStore, UserStore as _};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub(crate) use chats::MemoryChats;
pub(crate) use client::{Answer, Request};
pub(crate) use forger::Forger;
pub(crate) use held_cache::HeldCache;
pub(crate) use provider::{OpenProvider, Sent, Twist};
pub(crate) use smtp_sink::SmtpSink;

pub(crate) type TestBackend = (SqliteUsers, MemoryCache, MemoryChats);

/// The clock of every test: it stands still.
pub(crate) const NOW: Time = Time(1_800_000_000_000_000);

/// An API that ends with the test.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    peer: Arc<Mutex<Option<SocketAddr>>>,
    pub(crate) chats: MemoryChats,
    pub(crate) admin_key: String,
    pub(crate) identity: Bootstrap,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) serving: JoinHandle<std::io::Result<()>>,
    open: Arc<()>,
    folder: Arc<TempDir>,
    registry: Registry,
}

/// What the tests hand over: a socket and the bytes that an edge worker would have read.
struct Handed {
    stream: TcpStream,
    head: Bytes,
    peer: SocketAddr,
}

/// The fleet secret of every test.
pub(crate) fn fleet() -> FleetSecret {
    FleetSecret::parse(&"5e".repeat(32)).unwrap()
}

/// The parts of an API on a new data folder.
pub(crate) async fn parts(chats: &MemoryChats) -> (Parts<TestBackend>, Bootstrap, String, Arc<TempDir>) {
    parts_in(chats, Arc::new(tempfile::tempdir().unwrap())).await
}

/// The parts of an API on a data folder that others may have, too.
async fn parts_in(chats: &MemoryChats, folder: Arc<TempDir>) -> (Parts<TestBackend>, Bootstrap, String, Arc<TempDir>) {
    let users = SqliteUsers::open(&folder.path().join("users.sqlite"), NOW).unwrap();
    let key_path = folder.path().join("admin.key");
    let identity = bootstrap(&users, &fleet(), &key_path, ApiConfig::default().token_ttl, NOW).await.unwrap();
    let admin_key = std::fs::read_to_string(&key_path).unwrap().trim().to_owned();
    let parts = Parts {
        users,
        cache: memory_cache(),
        chats: chats.clone(),
        keys: identity.keys.clone(),
        refresh_tokens: identity.refresh_tokens.clone(),
        flows: identity.flows.clone(),
        ended: identity.ended.clone(),
        pictures: Some(PictureStore::in_folder(&folder.path().join("pictures")).unwrap()),
        mail: None,
        clock: || NOW,
    };
    (parts, identity, admin_key, folder)
}

pub(crate) fn memory_cache() -> MemoryCache {
    MemoryCache::new(NonZeroUsize::new(10_000).unwrap())
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}, None).await
    }

    /// Starts with another configuration; `peer` is believed to be every client's address.
    pub(crate) async fn with(change: impl FnOnce(&mut ApiConfig), peer: Option<SocketAddr>) -> Self {
        let mut config = ApiConfig::default();
        change(&mut config);
        let chats = MemoryChats::default();
        let (parts, identity, admin_key, folder) = parts(&chats).await;
        Self::of(config, peer, parts, (chats, identity, admin_key, folder)).await
    }

    /// Starts with another clock and configuration.
    pub(crate) async fn at(clock: fn() -> Time, change: impl FnOnce(&mut ApiConfig)) -> Self {
        let mut config = ApiConfig::default();
        change(&mut config);
        let chats = MemoryChats::default();
        let (parts, identity, admin_key, folder) = parts(&chats).await;
        Self::of(config, None, Parts { clock, ..parts }, (chats, identity, admin_key, folder)).await
    }

    /// Another process over the same store.
    pub(crate) async fn beside(&self, clock: fn() -> Time, change: impl FnOnce(&mut ApiConfig)) -> Self {
        let mut config = ApiConfig::default();
        change(&mut config);
        let chats = MemoryChats::default();
        let (parts, identity, admin_key, folder) = parts_in(&chats, Arc::clone(&self.folder)).await;
        Self::of(config, None, Parts { clock, ..parts }, (chats, identity, admin_key, folder)).await
    }

    /// What it stores users in, as another process opens it.
    pub(crate) fn store(&self) -> SqliteUsers {
        SqliteUsers::open_beside(&self.folder.path().join("users.sqlite")).unwrap()
    }

    /// Ends all logins of a user as another process would, over the store that both have.
    pub(crate) async fn end_elsewhere(&self, user: UserId) {
        let users = self.store();
        assert!(!users.end_logins(user, WhichLogins::All, NOW).await.unwrap().is_empty());
    }

    /// Starts with a cache that is away: in Redis, where no Redis is.
    pub(crate) async fn without_cache() -> Self {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let cache = RedisCache::new(&RedisConfig::new(format!("redis://{nobody}"))).unwrap();
        cache.ping().await.unwrap_err();
        Self::with_cache(cache).await
    }

    /// Starts where nobody named a place for pictures.
    pub(crate) async fn without_pictures() -> Self {
        let chats = MemoryChats::default();
        let (parts, identity, admin_key, folder) = parts(&chats).await;
        let parts = Parts { pictures: None, ..parts };
        Self::of(ApiConfig::default(), None, parts, (chats, identity, admin_key, folder)).await
    }

    /// Starts with a mail server.
    pub(crate) async fn with_mail(mail: MailConfig, change: impl FnOnce(&mut ApiConfig)) -> Self {
        let mut config = ApiConfig::default();
        change(&mut config);
        let chats = MemoryChats::default();
        let (parts, identity, admin_key, folder) = parts(&chats).await;
        let parts = Parts { mail: Some(mail), ..parts };
        Self::of(config, None, parts, (chats, identity, admin_key, folder)).await
    }

    pub(crate) async fn with_cache<C: Cache>(cache: C) -> Self {
        let chats = MemoryChats::default();
        let (parts, identity, admin_key, folder) = parts(&chats).await;
        let Parts { users, cache: _, chats: link, keys, refresh_tokens, flows, ended, pictures, mail, clock } = parts;
        let parts = Parts::<(SqliteUsers, C, MemoryChats)> {
            users,
            cache,
            chats: link,
            keys,
            refresh_tokens,
            flows,
            ended,
            pictures,
            mail,
            clock,
        };
        Self::of(ApiConfig::default(), None, parts, (chats, identity, admin_key, folder)).await
    }

    async fn of<C: Cache>(
        config: ApiConfig,
        peer: Option<SocketAddr>,
        parts: Parts<(SqliteUsers, C, MemoryChats)>,
        (chats, identity, admin_key, folder): (MemoryChats, Bootstrap, String, Arc<TempDir>),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (hand_over, handed_over) = mpsc::channel(64);
        let peer = Arc::new(Mutex::new(peer));
        let believed = Arc::clone(&peer);
        tokio::spawn(async move {
            while let Ok((stream, from)) = listener.accept().await {
                let peer = believed.lock().unwrap().unwrap_or(from);
                tokio::spawn(hand(stream, peer, hand_over.clone()));
            }
        });
        let (stop, stopping) = watch::channel(false);
        let open = Arc::new(());
        let held = Arc::clone(&open);
        let accept = move |handed: Handed| {
            Ok(Connection {
                stream: handed.stream,
                head: handed.head,
                peer: handed.peer,
                tls: false,
                held: Box::new(Arc::clone(&held)),
            })
        };
        let (metrics, mut registry) = (Metrics::default(), Registry::default());
        metrics.register(&mut registry);
        let serving = tokio::spawn(serve(config, parts, metrics, handed_over, accept, stopping));
        Self { address, peer, chats, admin_key, identity, stop, serving, open, folder, registry }
    }

    /// What it has counted under this name.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}: {text}")).parse().unwrap()
    }

    /// How many connections it serves.
    pub(crate) fn connections(&self) -> usize {
        // This and what accepts hold one each.
        Arc::strong_count(&self.open) - 2
    }

    /// From now on `address` is believed to be every client's.
    pub(crate) fn seen_from(&self, address: &str) {
        *self.peer.lock().unwrap() = Some(SocketAddr::new(address.parse().unwrap(), 1));
    }

    pub(crate) fn get(&self, path: &str) -> Request {
        Request::new(self.address, "GET", path)
    }

    pub(crate) fn post(&self, path: &str) -> Request {
        Request::new(self.address, "POST", path)
    }

    pub(crate) fn put(&self, path: &str) -> Request {
        Request::new(self.address, "PUT", path)
    }

    pub(crate) fn delete(&self, path: &str) -> Request {
        Request::new(self.address, "DELETE", path)
    }

    /// A new user's id and token.
    pub(crate) async fn user(&self, name: &str) -> (String, String) {
        let body = format!("{{\"users\":[{{\"username\":\"{name}\"}}]}}");
        let answer = self.post("/bulk/users").bearer(&self.admin_key).body(&body).send().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let user = &answer.json()["users"][0];
        (user["id"].as_str().unwrap().to_owned(), user["access_token"].as_str().unwrap().to_owned())
    }

    /// A new group's id.
    pub(crate) async fn chat(&self, token: &str, members: &[&str]) -> String {
        let body = serde_json::json!({ "name": "tea", "members": members }).to_string();
        let answer = self.post("/chats").bearer(token).body(&body).send().await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }
}

/// Reads some of a connection's first bytes, as an edge worker does, and hands it over.
async fn hand(mut stream: TcpStream, peer: SocketAddr, hand_over: mpsc::Sender<Handed>) {
    let mut head = BytesMut::zeroed(7);
    if let Ok(len) = stream.read(&mut head).await {
        head.truncate(len);
        drop(hand_over.send(Handed { stream, head: head.freeze(), peer }).await);
    }
}

/// What all logs of this process said, once a test asked for it.
pub(crate) struct Logs;

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

impl Logs {
    pub(crate) fn capture() {
        drop(tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(|| Self).try_init());
    }

    pub(crate) fn text() -> String {
        String::from_utf8_lossy(&LOGGED.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOGGED.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
