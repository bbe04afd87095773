//! Where the shards begin and end, asked of their leaders at that moment.
//!
//! A few threads ask, because the client library blocks. One question to a leader is on its way at a
//! time and names every shard that somebody asked about since the last one left; so a leader that hangs
//! delays only its own shards, and however many ask, the brokers get few questions. An answer is for
//! those who asked before its question left.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, RwLock};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bootstrap::watch;
use super::client::{Quiet, failure, reading};
use super::config::KafkaLogConfig;
use super::elsewhere::Elsewhere;
use super::hearing::Silence;
use super::thread::{self, Breaks};
use crate::error::StoreError;

/// Questions that may be on their way at once.
const THREADS: usize = 3;
/// Callers that may wait.
const WAITING_MAX: usize = 65_536;
/// Every leader and bound of a shard is asked for apart; nobody has this number.
const NO_LEADER: i32 = -1;

/// What is asked about a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Bound {
    /// The offset of its first record.
    First,
    /// The offset behind its last record.
    End,
}

pub(super) type Answer = Result<u64, StoreError>;
type Client = Elsewhere<BaseConsumer<Quiet>>;

/// Asks; dropping it ends its threads.
pub(super) struct Questions {
    shared: Arc<Shared>,
    timeout: Duration,
}

struct Shared {
    client: RwLock<Arc<Client>>,
    config: KafkaLogConfig,
    state: Mutex<State>,
    asked: Condvar,
}

struct State {
    waiting: HashMap<(Bound, u16), Vec<oneshot::Sender<Answer>>>,
    callers: usize,
    /// By shard.
    leaders: Vec<i32>,
    busy: HashSet<(Bound, i32)>,
    silence: Silence,
    stop: bool,
}

impl Questions {
    /// Starts the threads.
    pub(super) fn start(config: &KafkaLogConfig, breaks: &Breaks) -> Result<Self, StoreError> {
        let client = RwLock::new(Arc::new(client(config)?));
        let state = State {
            waiting: HashMap::new(),
            callers: 0,
            leaders: vec![NO_LEADER; usize::from(config.shards)],
            busy: HashSet::new(),
            silence: Silence::new(),
            stop: false,
        };
        let timeout = config.request_timeout;
        let (state, asked) = (Mutex::new(state), Condvar::new());
        let shared = Arc::new(Shared { client, config: config.clone(), state, asked });
        // Made before the threads, so that those that run end if one cannot be started.
        let questions = Self { shared, timeout };
        for _ in 0..THREADS {
            let (shared, breaks) = (Arc::clone(&questions.shared), breaks.clone());
            thread::start("kafka-ask", move || shared.run(), move |why| breaks.tell(why))?;
        }
        Ok(questions)
    }

    /// Asks about a shard; the answer comes, or the receiver ends with the log.
    pub(super) fn send(&self, bound: Bound, shard: u16) -> oneshot::Receiver<Answer> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.shared.state.lock();
        if state.callers < WAITING_MAX {
            state.callers += 1;
            state.waiting.entry((bound, shard)).or_default().push(answer);
            drop(state);
            self.shared.asked.notify_one();
        } else {
            drop(state);
            // Whoever asked may be gone.
            drop(answer.send(Err(StoreError::Unavailable("too many questions about the command log wait".into()))));
        }
        answered
    }

    /// Hears what the client has to say by itself; call it several times a second.
    pub(super) fn hear(&self) {
        let client = self.shared.client();
        let Ok(client) = client.get() else { return };
        while let Some(said) = client.poll(Duration::ZERO) {
            if let Err(error) = said {
                tracing::debug!(%error, "asking goes on");
            }
        }
        client.context().alone.mend(client.client(), &self.shared.config.brokers);
    }

    /// Asks about a shard and waits, for one question on its way and one more.
    pub(super) async fn ask(&self, bound: Bound, shard: u16) -> Answer {
        match tokio::time::timeout(self.timeout * 3, self.send(bound, shard)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Closed),
            Err(_) => Err(StoreError::Unavailable("the command log's brokers did not answer in time".into())),
        }
    }
}

impl Drop for Questions {
    fn drop(&mut self) {
        self.shared.state.lock().stop = true;
        self.shared.asked.notify_all();
    }
}

/// One question to one leader.
struct Question {
    bound: Bound,
    leader: i32,
    callers: Vec<(u16, Vec<oneshot::Sender<Answer>>)>,
}

impl Shared {
    fn run(&self) {
        while let Some(question) = self.next() {
            let shards: Vec<u16> = question.callers.iter().map(|(shard, _)| *shard).collect();
            let asked = self.put(question.bound, &shards);
            self.hear_of(question.leader, asked.as_ref().err());
            let answers = asked.unwrap_or_else(|error| vec![Err(unanswered(&error)); shards.len()]);
            if answers.iter().any(Result::is_err) || question.leader == NO_LEADER {
                self.find_leaders();
            }
            self.state.lock().busy.remove(&(question.bound, question.leader));
            // Others may have asked about the same leader meanwhile.
            self.asked.notify_one();
            for ((_, callers), answer) in question.callers.into_iter().zip(answers) {
                for caller in callers {
                    // Whoever asked may be gone.
                    drop(caller.send(answer.clone()));
                }
            }
        }
    }

    /// The next question that may leave; waits for one.
    fn next(&self) -> Option<Question> {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return None;
            }
            let State { waiting, leaders, busy, .. } = &*state;
            let leader_of = |shard: u16| leaders.get(usize::from(shard)).copied().unwrap_or(NO_LEADER);
            let free =
                waiting.keys().map(|(bound, shard)| (*bound, leader_of(*shard))).find(|free| !busy.contains(free));
            if let Some((bound, leader)) = free {
                let named = |key: &(Bound, u16)| key.0 == bound && leader_of(key.1) == leader;
                let keys: Vec<_> = waiting.keys().filter(|key| named(key)).copied().collect();
                let mut callers = Vec::with_capacity(keys.len());
                for key in keys {
                    let asking = state.waiting.remove(&key).unwrap_or_default();
                    state.callers -= asking.len();
                    callers.push((key.1, asking));
                }
                state.busy.insert((bound, leader));
                return Some(Question { bound, leader, callers });
            }
            self.asked.wait(&mut state);
        }
    }

    fn client(&self) -> Arc<Client> {
        Arc::clone(&self.client.read())
    }

    /// Another client asks if this one was not answered for long; see [`super::hearing`].
    fn hear_of(&self, leader: i32, error: Option<&KafkaError>) {
        let mut state = self.state.lock();
        if !error.is_some_and(is_silence) {
            return state.silence.answered(leader);
        }
        if !state.silence.is_deaf(leader, Instant::now()) {
            return;
        }
        drop(state);
        match client(&self.config) {
            Ok(client) => {
                tracing::warn!("a client of the brokers was not answered for long: another one asks where shards end");
                *self.client.write() = Arc::new(client);
            }
            Err(error) => {
                tracing::warn!(%error, "a client of the brokers is not answered, and there is no other one yet");
            }
        }
    }

    /// Asks about shards, and gives the answers in their order.
    fn put(&self, bound: Bound, shards: &[u16]) -> Result<Vec<Answer>, KafkaError> {
        let offset = match bound {
            Bound::First => Offset::Beginning,
            Bound::End => Offset::End,
        };
        let KafkaLogConfig { topic, request_timeout, .. } = &self.config;
        let mut partitions = TopicPartitionList::with_capacity(shards.len());
        for shard in shards {
            partitions.add_partition_offset(topic, i32::from(*shard), offset)?;
        }
        let client = self.client();
        let Ok(client) = client.get() else { return Ok(vec![Err(StoreError::Closed); shards.len()]) };
        let answered = client.offsets_for_times(partitions, *request_timeout)?;
        let of = |shard: &u16| {
            let found = answered.find_partition(topic, i32::from(*shard)).ok_or(KafkaError::NoMessageReceived)?;
            found.error()?;
            match found.offset() {
                Offset::Offset(offset) => u64::try_from(offset).map_err(|_| KafkaError::NoMessageReceived),
                _ => Err(KafkaError::NoMessageReceived),
            }
        };
        Ok(shards.iter().map(|shard| of(shard).map_err(|error| unanswered(&error))).collect())
    }

    fn find_leaders(&self) {
        let client = self.client();
        let Ok(client) = client.get() else { return };
        let metadata = match client.fetch_metadata(Some(&self.config.topic), self.config.request_timeout) {
            Ok(metadata) => metadata,
            Err(error) => return tracing::debug!(%error, "the leaders of the shards are not known"),
        };
        let mut state = self.state.lock();
        for partition in metadata.topics().iter().flat_map(|topic| topic.partitions()) {
            if let Some(leader) = usize::try_from(partition.id()).ok().and_then(|id| state.leaders.get_mut(id)) {
                *leader = partition.leader();
            }
        }
    }
}

fn client(config: &KafkaLogConfig) -> Result<Client, StoreError> {
    let mut settings = reading(config, "questions");
    watch(&mut settings, 0);
    let client = settings.create_with_context::<_, BaseConsumer<Quiet>>(Quiet::default());
    Ok(Elsewhere::new("questions", client.map_err(|error| failure("a client for questions", &error))?))
}

/// Whether nobody answered, other than somebody who refused.
fn is_silence(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let silent = [Code::OperationTimedOut, Code::RequestTimedOut, Code::BrokerTransportFailure, Code::AllBrokersDown];
    error.rdkafka_error_code().is_some_and(|code| silent.contains(&code))
}

fn unanswered(error: &KafkaError) -> StoreError {
    failure("asking where a shard begins or ends", error)
}
