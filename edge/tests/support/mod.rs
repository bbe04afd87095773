//! A whole server in the test's process: router, durable store in a folder, edge on free ports.
#![allow(dead_code, reason = "each test binary needs a part of it")]

pub(crate) mod forger;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use panda_access::{AccessKeys, FleetSecret, Revocations, Signer, SigningKey};
use panda_client::{Client, ClientConfig, Connector, QuicTarget, Target, TransportKind, Update, Updates};
use panda_edge::transport::handover::HandedOver;
use panda_edge::transport::tls::Identity;
use panda_edge::{Edge, EdgeConfig, EdgeParts, SessionLimits, WorkerLink};
use panda_protocol::link::LinkId;
use panda_protocol::{DeviceId, EntityId, Seq, Text, Time, UserId};
use panda_router::{Router, RouterConfig};
use panda_storage::CommandLog;
use panda_storage::embedded::{DataFolder, EmbeddedEvents, EmbeddedLog, MemoryBoard};
use tokio::sync::mpsc;

pub(crate) use self::forger::Forger;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::disallowed_methods, reason = "the clock of a test's server is the system's")]
pub(crate) fn now() -> Time {
    Time(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap())
}

pub(crate) struct Server {
    pub(crate) edge: Edge,
    pub(crate) events: EmbeddedEvents,
    pub(crate) handed_over: mpsc::Receiver<HandedOver>,
    router: Router,
    signer: Signer,
    /// Signs whatever it is given, with the same key.
    pub(crate) forger: Forger,
    connector: Connector,
    folder: tempfile::TempDir,
}

impl Server {
    pub(crate) async fn start(session: SessionLimits) -> Self {
        Self::with(|config| config.session = session).await
    }

    /// One whose defaults are changed.
    pub(crate) async fn with(change: impl FnOnce(&mut EdgeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        Self::on(folder, &data, change).await
    }

    /// One that stores its events in `data`, and its certificate in `folder`.
    pub(crate) async fn on(folder: tempfile::TempDir, data: &Path, change: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::over(folder, data, |log| log, change).await
    }

    /// One whose edge and router see the log as `log` makes it.
    pub(crate) async fn over<L: CommandLog>(
        folder: tempfile::TempDir,
        data: &Path,
        log: impl FnOnce(EmbeddedLog) -> L,
        change: impl FnOnce(&mut EdgeConfig),
    ) -> Self {
        let data = DataFolder::open(data).unwrap();
        let events = EmbeddedEvents::open(&data).unwrap();
        let log = log(EmbeddedLog::new(16, events.epoch(), now));
        let board = MemoryBoard::default();
        let router = panda_router::start(RouterConfig::new(1), log.clone(), events.clone(), board).await.unwrap();
        let mut links = Vec::new();
        for _ in 0..2 {
            let link = LinkId(rand::random());
            let (up, up_receiver) = mpsc::channel(1_024);
            let (down_sender, down) = mpsc::channel(64);
            router.attach(link, up_receiver, down_sender).await;
            links.push(WorkerLink { link, lane: 0, up, down });
        }
        let fleet = FleetSecret::generate().unwrap();
        let seed = rand::random();
        let key = SigningKey::from_seed(seed).unwrap();
        let (handed, handed_over) = mpsc::channel(16);
        let identity = Identity::development(folder.path()).unwrap();
        let fingerprint = identity.fingerprint();
        let loopback: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config = EdgeConfig {
            workers: 2,
            http: loopback,
            quic: Some(loopback),
            rules: Default::default(),
            quic_identity: Some(identity),
            admission: Default::default(),
            session: Default::default(),
            link: Default::default(),
        };
        change(&mut config);
        let keys = AccessKeys::new([key.verifying_key().clone()]);
        let parts =
            EdgeParts { log, links, keys, revocations: Revocations::new(), fleet, handed_over: handed, clock: now };
        let edge = panda_edge::start(config, parts).unwrap();
        let mut pin = [0; 32];
        for (slot, pair) in pin.iter_mut().zip(fingerprint.as_bytes().chunks(2)) {
            *slot = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        let quic = edge.quic_address().unwrap();
        let target = Target {
            websocket: Some(format!("ws://{}/ws", edge.http_address())),
            quic: Some(QuicTarget { host: "127.0.0.1".into(), port: quic.port(), certificate_sha256: Some(pin) }),
        };
        let connector = Connector::new(target).unwrap();
        Self {
            edge,
            events,
            handed_over,
            router,
            signer: Signer::new(&key),
            forger: Forger::new(seed),
            connector,
            folder,
        }
    }

    pub(crate) fn token(&self, user: UserId) -> String {
        self.signer.sign(user, now().0 / 1_000_000, 3_600)
    }

    /// A token whose time was over a minute ago.
    pub(crate) fn expired_token(&self, user: UserId) -> String {
        self.signer.sign(user, now().0 / 1_000_000 - 3_660, 3_600)
    }

    /// The certificate that QUIC clients are to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    pub(crate) async fn join(&self, user: UserId, transport: TransportKind) -> Person {
        self.join_as(user, DeviceId::from_random(rand::random()), transport).await
    }

    pub(crate) async fn join_as(&self, user: UserId, device: DeviceId, transport: TransportKind) -> Person {
        let config = ClientConfig::new(transport, device, self.token(user).into());
        let (client, updates) = panda_client::start(self.connector.clone(), config);
        let mut person = Person { user, client, updates };
        person.until(|update| matches!(update, Update::Connected { .. })).await;
        person
    }

    /// Chats and inboxes in the router's memory.
    pub(crate) fn resident(&self) -> i64 {
        self.router.metrics().resident.get()
    }

    pub(crate) fn start_with(&self, token: Text) -> (Client, Updates) {
        let device = DeviceId::from_random(rand::random());
        panda_client::start(self.connector.clone(), ClientConfig::new(TransportKind::WebSocket, device, token))
    }

    pub(crate) async fn stop(mut self) {
        self.edge.stop(Duration::from_millis(300)).await.unwrap();
        drop(self.handed_over);
        self.router.stop().await.unwrap();
        self.events.close().await.unwrap();
        drop(self.folder);
    }
}

pub(crate) fn user() -> UserId {
    UserId::from_random(rand::random())
}

/// A client that takes its updates.
pub(crate) struct Person {
    pub(crate) user: UserId,
    pub(crate) client: Client,
    pub(crate) updates: Updates,
}

impl Person {
    /// Takes updates until one is the one that is waited for.
    pub(crate) async fn until(&mut self, mut is: impl FnMut(&Update) -> bool) -> Update {
        let wait = async {
            loop {
                let update = self.updates.next().await.expect("the client goes on");
                if is(&update) {
                    return update;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("what is waited for happens")
    }

    pub(crate) async fn event(&mut self, of: impl Into<EntityId>, number: Seq) -> panda_protocol::event::Event {
        let of = of.into();
        let update =
            self.until(|update| matches!(update, Update::Event { entity, seq, .. } if *entity == of && *seq == number));
        match update.await {
            Update::Event { event, .. } => panda_protocol::event::Event::from_bytes(&event).unwrap(),
            other => panic!("{other:?} is no event"),
        }
    }
}
