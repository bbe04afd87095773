//! A server, and two bystanders who talk on it while somebody misbehaves.

use std::time::Duration;

use futures_util::FutureExt as _;
use panda_client::{TransportKind, Update};
use panda_edge::{EdgeConfig, EdgeMetrics};
use panda_protocol::{ChatId, EntityId, Text, UserId};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::raw::Raw;
use crate::support::{PATIENCE, Person, Server, user};

/// Both ways to a session.
pub(crate) const TRANSPORTS: [TransportKind; 2] = [TransportKind::WebSocket, TransportKind::Quic];
/// How often the bystanders speak: well below the rate that a session may have.
const PACE: Duration = Duration::from_millis(25);

/// A server that is talked on.
pub(crate) struct Scene {
    pub(crate) server: Server,
    /// How often one bystander heard the other.
    heard: watch::Receiver<u64>,
    stop: oneshot::Sender<()>,
    talk: JoinHandle<()>,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    /// On a server whose defaults are changed.
    pub(crate) async fn with(change: impl FnOnce(&mut EdgeConfig)) -> Self {
        Self::on(Server::with(change).await).await
    }

    pub(crate) async fn on(server: Server) -> Self {
        Self::over(server, TRANSPORTS).await
    }

    /// With bystanders who came over these transports.
    pub(crate) async fn over(server: Server, [one, other]: [TransportKind; 2]) -> Self {
        let ada = server.join(user(), one).await;
        let ben = server.join(user(), other).await;
        let (chat, _) = ada.client.create_group("bystanders".into(), vec![ben.user]).await.unwrap();
        ben.client.subscribe(chat, None).await.unwrap();
        let (said, heard) = watch::channel(0);
        let (stop, stopped) = oneshot::channel();
        let talk = tokio::spawn(talk(ada, ben, chat, said, stopped));
        Self { server, heard, stop, talk }
    }

    /// The bystanders understand each other now, and understood everything until now.
    pub(crate) async fn nobody_notices(&mut self) {
        let until_now = *self.heard.borrow();
        // Two more: the first may have been on its way before.
        let more = timeout(PATIENCE, self.heard.wait_for(|heard| *heard >= until_now + 2)).await;
        assert!(more.is_ok_and(|more| more.is_ok()), "the bystanders talk on");
    }

    /// Ends it all: still nobody noticed, and nothing panicked.
    pub(crate) async fn end(mut self) {
        self.nobody_notices().await;
        self.stop.send(()).unwrap();
        self.talk.await.expect("the bystanders noticed something");
        assert_eq!(self.server.edge.metrics().panics.get(), 0);
        self.server.stop().await;
    }

    /// Waits until the figures are as they should become.
    pub(crate) async fn until(&self, mut are: impl FnMut(&EdgeMetrics, &dyn Fn(&str) -> u64) -> bool) {
        let metrics = self.server.edge.metrics();
        let gate = |wanted: &str| metrics.admissions().find(|(label, _)| *label == wanted).unwrap().1;
        let mut looks = interval(PACE);
        let becoming = async {
            while !are(metrics, &gate) {
                looks.tick().await;
            }
        };
        if timeout(PATIENCE, becoming).await.is_err() {
            panic!("the figures became {metrics:?}, {:?}", metrics.admissions().collect::<Vec<_>>());
        }
    }

    /// Opens a session of a new user.
    pub(crate) async fn open(&self, transport: TransportKind) -> Raw {
        self.open_as(transport, user()).await
    }

    /// Opens another session of a user.
    pub(crate) async fn open_as(&self, transport: TransportKind, user: UserId) -> Raw {
        Raw::open(&self.server, transport, user).await
    }
}

/// One speaks and the other listens, until they are told to stop. Neither loses its session.
async fn talk(ada: Person, mut ben: Person, chat: ChatId, heard: watch::Sender<u64>, mut stop: oneshot::Receiver<()>) {
    let Person { client, mut updates, .. } = ada;
    let mut next = None;
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.try_recv().is_err() {
        pace.tick().await;
        let said = client.send(chat, Text::from("do you hear me?")).await.unwrap();
        ben.until(|update| {
            undisturbed(update);
            if let Update::Event { entity, seq, .. } = update
                && *entity == EntityId::from(chat)
            {
                assert_eq!(*seq, next.unwrap_or(*seq), "no gap and nothing twice");
                next = Some(seq.next());
            }
            next > Some(said)
        })
        .await;
        while let Some(update) = updates.next().now_or_never() {
            undisturbed(&update.expect("the client goes on"));
        }
        heard.send_modify(|heard| *heard += 1);
    }
    client.close().await;
    ben.client.close().await;
}

fn undisturbed(update: &Update) {
    let disturbed = matches!(
        update,
        Update::Disconnected { .. } | Update::Ended { .. } | Update::Lost { .. } | Update::Lagging { .. }
    );
    assert!(!disturbed, "a bystander noticed: {update:?}");
}
