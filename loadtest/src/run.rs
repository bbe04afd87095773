//! What the tasks of one run share: targets, users, chats with their checkers, the recorder, the clock.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use panda_client::{Connector, Target, Unexpected};
use panda_protocol::{ChatId, Seq};
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::time::Instant;

use crate::checker::{ChatCheck, Verdict, Violation};
use crate::cli::{API_KEY_FILE, Common, Transport};
use crate::provision::{self, ChatPlan, Http, ProvisionError, Provisioned};
use crate::recorder::Recorder;
use crate::report::{Watched, line};

/// How often something that must become true is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// Why a run ended without a verdict, or what could not be written behind one.
#[derive(Debug)]
pub enum RunError {
    /// What was asked for cannot be done; exit status 2.
    Usage(String),
    /// The target is not there; exit status 3.
    Unreachable(String),
    /// A target's good answer is not what its document says; exit status 1, as for a violation.
    Malformed(String),
    /// The harness itself cannot go on: an agent is gone, files or ports are out; exit status 5.
    Harness(String),
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Usage(why) | Self::Unreachable(why) | Self::Malformed(why) => f.write_str(why),
            Self::Harness(why) => write!(f, "the harness was the limit: {why}"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<ProvisionError> for RunError {
    fn from(error: ProvisionError) -> Self {
        match error {
            ProvisionError::Refused { status: 400..=499, .. } => Self::Usage(error.to_string()),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// The run that is under way, for whoever sums it up when it ends early.
#[derive(Debug, Default)]
pub struct Underway(OnceLock<Arc<Run>>);

impl Underway {
    /// Only the first run counts.
    pub(crate) fn begin(&self, run: Run) -> Arc<Run> {
        Arc::clone(self.0.get_or_init(|| Arc::new(run)))
    }

    /// The run, once its users and chats are there.
    pub fn run(&self) -> Option<&Arc<Run>> {
        self.0.get()
    }
}

/// A target and what connects to it.
#[derive(Debug)]
pub struct Reached {
    /// Its HTTP API.
    pub http: Arc<Http>,
    /// Its sessions.
    pub connector: Connector,
}

/// What the tasks of one run share.
#[derive(Debug)]
pub struct Run {
    /// At least one.
    pub targets: Vec<Reached>,
    /// How sessions connect.
    pub transport: Transport,
    /// How long something may be away.
    pub patience: Duration,
    /// In the order of their numbers.
    pub users: Vec<Provisioned>,
    /// In the order of their numbers.
    pub chats: Vec<ChatId>,
    /// How long nothing is done before the first session connects.
    pub settle: Duration,
    /// Servers' processes whose memory and processor time are looked at.
    pub watched: Vec<Watched>,
    /// Counts and times.
    pub recorder: Arc<Recorder>,
    /// Sessions that should be connected.
    pub open: AtomicI64,
    /// Steps by one at every change of what is delivered or connected.
    pub ended: AtomicU64,
    /// When the load began, on the run's clock.
    pub load_began: OnceLock<Duration>,
    numbers: HashMap<ChatId, usize>,
    checks: Vec<Mutex<ChatCheck>>,
    /// Of chats that are none of this run's.
    elsewhere: Mutex<Verdict>,
    began: Instant,
}

impl Run {
    /// Finds the targets and makes users and chats; `provisioned` on stderr tells scripts that they are there.
    ///
    /// # Errors
    /// [`RunError`].
    pub async fn prepare(
        common: &Common,
        names: &[String],
        plans: &[ChatPlan],
        underway: &Underway,
    ) -> Result<Arc<Self>, RunError> {
        for base in common.bases() {
            check_base(base)?;
        }
        let file = common.api_key_file.as_deref().unwrap_or_else(|| Path::new(API_KEY_FILE));
        let key = std::fs::read_to_string(file).map_err(|error| {
            let path = file.display();
            RunError::Usage(format!("the API key cannot be read from {path}: {error}; name it with --api-key-file"))
        })?;
        if key.trim().is_empty() {
            let path = file.display();
            return Err(RunError::Usage(format!(
                "{path} is empty: the API key is to be in it; --api-key-file names another"
            )));
        }
        let certificate = common.certificate.as_deref().map(Certificate::read).transpose()?;
        let mut targets = Vec::new();
        for base in common.bases() {
            targets.push(reach(base, key.trim(), common.transport, certificate.as_ref()).await?);
        }
        let first = targets.first().ok_or_else(|| RunError::Usage("name a target with --target".into()))?;
        let users = provision::users(&first.http, names, common.patience).await?;
        let chats = provision::chats(&first.http, &users, plans, common.patience).await?;
        line("provisioned");
        let run = Self {
            targets,
            transport: common.transport,
            patience: common.patience,
            users,
            numbers: chats.iter().enumerate().map(|(number, chat)| (*chat, number)).collect(),
            checks: chats.iter().map(|chat| Mutex::new(ChatCheck::new(*chat))).collect(),
            chats,
            settle: common.settle.unwrap_or_default(),
            watched: common.watch.clone(),
            recorder: Arc::default(),
            open: AtomicI64::new(0),
            ended: AtomicU64::new(0),
            load_began: OnceLock::new(),
            elsewhere: Mutex::default(),
            began: Instant::now(),
        };
        Ok(underway.begin(run))
    }

    /// The run's clock: since it was prepared.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// The moment at which the run's clock shows `at`.
    pub fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    /// Where session `number` connects first, and where it goes when that one is lost, as a balancer
    /// between would do it.
    pub fn connectors(&self, number: u32) -> (Connector, Vec<Connector>) {
        let mut connectors = self.order(number).into_iter().map(|target| self.targets[target].connector.clone());
        (connectors.next().expect("a run has at least one target"), connectors.collect())
    }

    /// The places of a session's servers among the targets, the one where it connects first in front. By pairs, so that
    /// each target gets both transports where they are mixed; those of one target then spread over the others.
    pub fn order(&self, number: u32) -> Vec<usize> {
        let (pair, count) = (number as usize / 2, self.targets.len());
        let backwards = (pair / count).is_multiple_of(2);
        let step = |step: usize| if backwards { count - step } else { step };
        (0..count).map(|place| (pair + step(place)) % count).collect()
    }

    /// The number of a chat of this run.
    pub fn number(&self, chat: ChatId) -> Option<usize> {
        self.numbers.get(&chat).copied()
    }

    /// The checker of chat `number`. Held for moments, never over a wait.
    pub fn check(&self, number: usize) -> MutexGuard<'_, ChatCheck> {
        self.checks[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session's client dropped an event that may not come, of whatever chat.
    pub fn unexpected(&self, session: u32, chat: ChatId, seq: Seq, how: Unexpected) {
        match self.number(chat) {
            Some(number) => self.check(number).unexpected(session, seq, how),
            None => self.elsewhere().found(chat, Violation::unexpected(session, seq, how)),
        }
    }

    /// A server broke the protocol on a session's connection.
    pub fn breach(&self, session: u32, chat: ChatId, why: String) {
        self.elsewhere().found(chat, Violation::Breach { session, why });
    }

    fn elsewhere(&self) -> MutexGuard<'_, Verdict> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The violations that were found so far, for a run that is not judged, or not by its checks alone. They are in no
    /// later verdict.
    pub fn found_so_far(&self) -> Verdict {
        let mut verdict = std::mem::take(&mut *self.elsewhere());
        for (number, chat) in self.chats.iter().enumerate() {
            verdict.add_found(*chat, self.check(number).take_found());
        }
        verdict
    }

    /// Sessions that should be connected and are not.
    pub fn away(&self) -> i64 {
        self.open.load(Relaxed) - self.recorder.connected.load(Relaxed)
    }

    /// Ends once all sessions have been away for longer than the run's patience: the target is gone.
    pub async fn target_gone(&self) -> RunError {
        let mut seen = Instant::now();
        while seen.elapsed() <= self.patience {
            if self.open.load(Relaxed) <= 0 || self.recorder.connected.load(Relaxed) > 0 {
                seen = Instant::now();
            }
            tokio::time::sleep(LOOK).await;
        }
        RunError::Unreachable(format!("no session could connect again for {:?}", self.patience))
    }

    /// Waits until every session is connected.
    ///
    /// # Errors
    /// [`RunError::Unreachable`] beyond the run's patience.
    pub async fn all_connected(&self) -> Result<(), RunError> {
        if self.becomes(|| self.away() <= 0 || self.ended.load(Relaxed) > 0).await {
            return Ok(());
        }
        let away = self.away();
        Err(RunError::Unreachable(format!("{away} sessions could not connect again within {:?}", self.patience)))
    }

    /// Waits until every stream has come to its chat's head, at most for the run's patience; the checker
    /// tells who did not. `all delivered` on stderr tells scripts that they have.
    pub async fn all_delivered(&self) {
        let behind = |number| self.check(number).behind();
        if self.becomes(|| (0..self.chats.len()).all(|number| behind(number) == 0)).await {
            return line("all delivered");
        }
        let streams: usize = (0..self.chats.len()).map(behind).sum();
        line(format_args!("{streams} streams are still behind after {:?}", self.patience));
    }

    /// Judges all chats, each at a moment when no stream is behind what anybody saw: an event whose send
    /// nobody waited for may have come between, and is on its way to others. What comes later is not
    /// judged; whoever is behind beyond the run's patience is.
    pub async fn verdict(&self) -> Verdict {
        let until = Instant::now() + self.patience;
        let mut verdict = std::mem::take(&mut *self.elsewhere());
        for (number, chat) in self.chats.iter().enumerate() {
            let check = loop {
                if let Some(check) = self.take_settled(number, *chat, until) {
                    break check;
                }
                tokio::time::sleep(LOOK).await;
            };
            verdict.add(*chat, check.finish());
        }
        verdict
    }

    fn take_settled(&self, number: usize, chat: ChatId, until: Instant) -> Option<ChatCheck> {
        let mut check = self.check(number);
        let settled = check.behind() == 0 || Instant::now() >= until;
        settled.then(|| std::mem::replace(&mut *check, ChatCheck::new(chat)))
    }

    async fn becomes(&self, holds: impl Fn() -> bool) -> bool {
        let until = Instant::now() + self.patience;
        while !holds() {
            if Instant::now() >= until {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }
}

/// Refuses what is no base URL before anything is asked of it.
fn check_base(base: &str) -> Result<(), RunError> {
    match base.split_once("://") {
        Some(("http" | "https", host)) if !host.is_empty() => Ok(()),
        Some(_) => Err(RunError::Usage(format!("--target {base} is no base URL such as http://127.0.0.1:8080"))),
        None => {
            Err(RunError::Usage(format!("--target {base} lacks its scheme: write http://{base} or https://{base}")))
        }
    }
}

/// The one certificate that targets show.
struct Certificate {
    pem: Vec<u8>,
    sha256: [u8; 32],
}

impl Certificate {
    fn read(path: &Path) -> Result<Self, RunError> {
        let refused = |why: String| RunError::Usage(format!("--certificate {}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| refused(format!("it cannot be read: {error}")))?;
        let first = CertificateDer::from_pem_slice(&pem);
        let first = first.map_err(|error| refused(format!("there is no certificate in it: {error}")))?;
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, &first).as_ref());
        Ok(Self { pem, sha256 })
    }
}

async fn reach(
    base: &str,
    key: &str,
    transport: Transport,
    certificate: Option<&Certificate>,
) -> Result<Reached, RunError> {
    let http = match certificate {
        Some(certificate) => Http::with_authority(base, key, &certificate.pem)?,
        None => Http::new(base, key),
    };
    let document = http.get("/.well-known/panda").await?;
    let mut target =
        Target::from_discovery(base, &document).map_err(|error| RunError::Unreachable(error.to_string()))?;
    // A WebSocket over TLS takes the certificate that QUIC is told to take.
    if let (Some(certificate), Some(quic)) = (certificate, &mut target.quic) {
        quic.certificate_sha256 = Some(certificate.sha256);
    }
    if transport != Transport::Ws && target.quic.is_none() {
        return Err(RunError::Usage(format!("{base} offers no QUIC; use --transport ws")));
    }
    if transport != Transport::Quic && target.websocket.is_none() {
        return Err(RunError::Usage(format!("{base} offers no WebSocket; use --transport quic")));
    }
    let connector = Connector::new(target).map_err(|error| RunError::Usage(format!("{base}: {error}")))?;
    Ok(Reached { http, connector })
}

#[cfg(test)]
mod tests {
    use panda_protocol::event::{Digest, Event, EventBody, MessageFormat};
    use panda_protocol::{Counter, DeviceId, Seq, Time, UserId};

    use super::*;

    impl Run {
        /// A run of one chat with user 0, at targets with these base URLs.
        pub(crate) fn at(bases: &[&str], chat: ChatId, id: UserId) -> Self {
            let target = |base: &&str| {
                let target = Target::from_discovery(base, br#"{"versions":[1],"websocket":"/ws"}"#).unwrap();
                Reached { http: Http::new(base, "key"), connector: Connector::new(target).unwrap() }
            };
            let user = Provisioned { id, username: "lt0".into(), token: "token".into() };
            Self { targets: bases.iter().map(target).collect(), users: vec![user], ..Self::of_chat(chat) }
        }

        /// A run of one chat, without targets.
        pub(crate) fn of_chat(chat: ChatId) -> Self {
            Self {
                targets: Vec::new(),
                transport: Transport::Ws,
                patience: Duration::from_secs(10),
                users: Vec::new(),
                chats: vec![chat],
                settle: Duration::ZERO,
                watched: Vec::new(),
                recorder: Arc::default(),
                open: AtomicI64::new(0),
                ended: AtomicU64::new(0),
                load_began: OnceLock::new(),
                numbers: HashMap::from([(chat, 0)]),
                checks: vec![Mutex::new(ChatCheck::new(chat))],
                elsewhere: Mutex::default(),
                began: Instant::now(),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_chat_is_judged_once_its_late_events_have_come_and_not_later_than_that() {
        let (user, device) = (UserId::from_random([1; 16]), DeviceId::from_random([2; 16]));
        let event = Event {
            seq: Seq(1),
            time: Time(1),
            actor: user,
            device: DeviceId::from_random([3; 16]),
            counter: Counter(1),
            digest: Digest::default(),
            target: None,
            body: EventBody::MessageSent { format: MessageFormat::Text, text: "late".into() },
        };
        let event = event.to_bytes();
        for (comes, violations) in [(true, 0), (false, 1)] {
            let run = Arc::new(Run::of_chat(ChatId::direct(user, UserId::from_random([4; 16]))));
            run.check(0).listening(0, device);
            run.check(0).admitted(0, 1);
            // The store has it; the session gets it a second later, or never.
            run.check(0).stored(1, &event);
            let later = async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                if comes {
                    run.check(0).delivered(0, 1, &event, Duration::ZERO);
                }
            };
            let (verdict, ()) = tokio::join!(run.verdict(), later);
            assert_eq!(verdict.violations, violations, "{:?}", verdict.kept);
        }
    }
}
