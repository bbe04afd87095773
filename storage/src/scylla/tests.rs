//! Tests on a real cluster, which `PANDA_TEST_CASSANDRA` names as host:port of its nodes, with commas
//! between. Each test has keyspaces of its own and drops them.

mod faults;

use std::cell::RefCell;
use std::time::Duration;

use panda_protocol::{ChatId, Counter, DeviceId, Position, Time, UserId};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use super::*;
use crate::command_log::RecordMark;
use crate::contract::test_server;
use crate::epoch_store::EpochStore as _;

/// A server and the keyspaces that a test has made on it.
struct Server {
    nodes: Vec<String>,
    session: Session,
    keyspaces: RefCell<Vec<String>>,
}

impl Server {
    /// Absent without a server.
    async fn find() -> Option<Self> {
        let nodes = test_server("Cassandra", "PANDA_TEST_CASSANDRA")?;
        let nodes: Vec<_> = nodes.split(',').map(str::to_owned).collect();
        let session = SessionBuilder::new().known_nodes(&nodes).build().await.unwrap();
        Some(Self { nodes, session, keyspaces: RefCell::default() })
    }

    /// As many copies as there are nodes, so that quorums are what they are in production.
    fn copies(&self) -> u8 {
        u8::try_from(self.session.get_cluster_state().get_nodes_info().len()).unwrap().min(3)
    }

    /// How to open a store in a keyspace that nobody has made yet.
    fn config(&self) -> ScyllaConfig {
        let keyspace = format!("panda_test_{:016x}", rand::random::<u64>());
        self.keyspaces.borrow_mut().push(keyspace.clone());
        ScyllaConfig {
            migration_lease: Duration::from_secs(20),
            ..ScyllaConfig::new(self.nodes.clone(), keyspace, Replication::Simple { factor: self.copies() })
        }
    }

    async fn run(&self, statement: &str) {
        self.session.query_unpaged(statement, ()).await.unwrap();
    }

    async fn end(self) {
        for keyspace in self.keyspaces.take() {
            self.run(&format!("DROP KEYSPACE IF EXISTS {keyspace}")).await;
        }
    }
}

#[tokio::test]
async fn the_store_keeps_the_contract() {
    let Some(server) = Server::find().await else { return };
    crate::contract::events::all(async || ScyllaEvents::open(&server.config()).await.unwrap()).await;
    crate::contract::entities::all(async || ScyllaEvents::open(&server.config()).await.unwrap()).await;
    crate::contract::epochs::all(async || ScyllaEvents::open(&server.config()).await.unwrap()).await;
    server.end().await;
}

#[tokio::test]
async fn only_who_asks_all_copies_waits_for_all() {
    let Some(server) = Server::find().await else { return };
    let store = ScyllaEvents::open(&server.config()).await.unwrap();
    let statements = &store.inner.statements;
    for read in [&statements.read_forward, &statements.read_backward, &statements.partitions] {
        let consistency = [Copies::Enough, Copies::All].map(|copies| read.of(copies).get_consistency());
        // The session's own: a quorum of the datacenter.
        assert_eq!(consistency, [None, Some(scylla::statement::Consistency::All)]);
    }
    server.end().await;
}

#[tokio::test]
async fn calls_of_many_requests_end_where_only_one_may_be_on_its_way() {
    let Some(server) = Server::find().await else { return };
    let config = ScyllaConfig { requests_in_flight_max: 1, ..server.config() };
    let store = ScyllaEvents::open(&config).await.unwrap();
    let user = UserId::from_random([1; 16]);
    let group: EntityId = ChatId::group(user, DeviceId::NONE, Counter(1)).into();
    let row = |number: u8| StateRow {
        key: RowKey { kind: 1, key: UserId::from_random([number; 16]).as_bytes().to_vec().into() },
        value: Some(Bytes::from_static(b"value")),
        time: Time(1),
    };
    let rows: Vec<_> = (0..=255).map(row).collect();
    let keys = || rows.iter().map(|row| row.key.clone()).collect();
    let (one, other) = tokio::join!(store.write_state(group, rows.clone()), store.write_state(group, rows.clone()));
    one.and(other).unwrap();
    let (read, scanned) = tokio::join!(store.read_state(group, keys()), store.scan_state(group, 1, None, 999));
    assert_eq!(read.unwrap().into_iter().flatten().collect::<Vec<_>>(), rows);
    assert_eq!(scanned.unwrap(), rows);
    server.end().await;
}

#[tokio::test]
async fn processes_that_start_at_once_make_one_store() {
    let Some(server) = Server::find().await else { return };
    let config = server.config();
    let starts = (0..8).map(|_| {
        let config = config.clone();
        tokio::spawn(async move { ScyllaEvents::open(&config).await.unwrap().incarnation() })
    });
    let starts: Vec<_> = starts.collect();
    let mut incarnations = Vec::new();
    for start in starts {
        incarnations.push(start.await.unwrap());
    }
    incarnations.push(ScyllaEvents::open(&config).await.unwrap().incarnation());
    incarnations.dedup();
    assert_eq!(incarnations.len(), 1);
    let other = ScyllaEvents::open(&server.config()).await.unwrap();
    assert_ne!(other.incarnation(), incarnations[0]);
    server.end().await;
}

#[tokio::test]
async fn a_store_takes_the_incarnation_of_another_one_and_who_knew_the_old_one_is_told() {
    let Some(server) = Server::find().await else { return };
    let config = server.config();
    let open = async || ScyllaEvents::open(&config).await.unwrap();
    let (before, also_before) = (open().await, open().await);
    let other = Incarnation([0, 1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(before.log_epoch().await.unwrap(), None);
    before.replace_incarnation(other).await.unwrap();
    before.replace_incarnation(other).await.unwrap();
    let after = open().await;
    assert_eq!((after.incarnation(), after.log_epoch().await.unwrap()), (other, None));
    for late in [before, also_before] {
        assert!(matches!(late.log_epoch().await, Err(StoreError::Misconfigured(_))));
        let refused = late.replace_incarnation(Incarnation([9; 8])).await;
        assert!(matches!(refused, Err(StoreError::Misconfigured(_))), "{refused:?}");
    }
    assert_eq!(open().await.incarnation(), other);
    server.end().await;
}

/// A migration that adds what the next version may need.
const NEXT: &str = "CREATE TABLE IF NOT EXISTS {keyspace}.next (a int PRIMARY KEY); \
                    CREATE TABLE IF NOT EXISTS {keyspace}.after_next (a int PRIMARY KEY)";

#[tokio::test]
async fn an_older_keyspace_is_migrated_with_its_data_and_a_newer_one_is_refused() {
    let Some(server) = Server::find().await else { return };
    let config = server.config();
    let store = ScyllaEvents::open(&config).await.unwrap();
    let checkpoint = Checkpoint { position: Position { epoch: 1, offset: 7 }, rules: 1, last: None };
    store.write_checkpoint(ShardId(1), checkpoint).await.unwrap();
    let migrations = [schema::MIGRATIONS, &[NEXT]].concat();
    let session = cluster::connect(&config).await.unwrap();
    let migrated = schema::prepare(&session, &config, &migrations).await.unwrap();
    assert_eq!(migrated, store.incarnation());
    server.run(&format!("INSERT INTO {}.after_next (a) VALUES (1)", config.keyspace)).await;
    assert_eq!(store.checkpoint(ShardId(1)).await.unwrap(), Some(checkpoint));
    let error = ScyllaEvents::open(&config).await.err().unwrap();
    let StoreError::Newer { found, known, .. } = error else { panic!("{error}") };
    assert_eq!((found, known), (3, 2));
    server.end().await;
}

#[tokio::test]
async fn a_checkpoint_of_a_release_that_named_no_last_record_names_none() {
    let Some(server) = Server::find().await else { return };
    let config = server.config();
    let session = cluster::connect(&config).await.unwrap();
    schema::prepare(&session, &config, &schema::MIGRATIONS[..1]).await.unwrap();
    let shard = ShardId(1);
    let written_before = async |offset: u64| {
        server
            .run(&format!(
                "INSERT INTO {}.checkpoints (shard, epoch, log_offset, rules) VALUES (1, 4, {offset}, 1) \
                 USING TIMESTAMP {offset}",
                config.keyspace
            ))
            .await;
        let position = Position { epoch: 4, offset };
        Checkpoint { position, rules: 1, last: None }
    };
    let before = written_before(7).await;
    let store = ScyllaEvents::open(&config).await.unwrap();
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(before));
    let position = Position { epoch: 4, offset: 8 };
    let last = RecordMark { position, time: Time(1_700_000_000_000_000), digest: [255; 8] };
    let checkpoint = Checkpoint { position: last.behind(), rules: 1, last: Some(last) };
    store.write_checkpoint(shard, checkpoint).await.unwrap();
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(checkpoint));
    // A process of that release still runs: late, and in its turn.
    written_before(8).await;
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(checkpoint));
    let before = written_before(20).await;
    assert_eq!(store.checkpoint(shard).await.unwrap(), Some(before));
    server.end().await;
}

#[tokio::test]
async fn who_died_while_columns_were_added_is_followed_by_another() {
    let Some(server) = Server::find().await else { return };
    let config = server.config();
    let session = cluster::connect(&config).await.unwrap();
    // They are there, and nobody said so.
    let half = schema::MIGRATIONS[1].to_owned() + "BROKEN";
    let error = schema::prepare(&session, &config, &[schema::MIGRATIONS[0], &half]).await.unwrap_err();
    assert!(error.to_string().contains("BROKEN"), "{error}");
    let store = ScyllaEvents::open(&config).await.unwrap();
    assert_eq!(store.checkpoint(ShardId(1)).await.unwrap(), None);
    server.end().await;
}

#[tokio::test]
async fn who_dies_while_making_the_tables_is_followed_by_another() {
    let Some(server) = Server::find().await else { return };
    let config = ScyllaConfig { migration_lease: Duration::from_secs(2), ..server.config() };
    let keyspace = &config.keyspace;
    // It has made the keyspace, said that it works, and made one table of the three.
    let session = cluster::connect(&config).await.unwrap();
    let half = "CREATE TABLE IF NOT EXISTS {keyspace}.checkpoints (shard int, epoch bigint, log_offset bigint, \
                rules int, PRIMARY KEY (shard, epoch)) WITH CLUSTERING ORDER BY (epoch DESC); BROKEN";
    let error = schema::prepare(&session, &config, &[half]).await.unwrap_err();
    assert!(error.to_string().contains("BROKEN"), "{error}");
    let working = "INSERT INTO {}.meta (name, value) VALUES ('migrating', 'dead') IF NOT EXISTS USING TTL 2";
    server.run(&working.replace("{}", keyspace)).await;
    let store = ScyllaEvents::open(&config).await.unwrap();
    assert_eq!(store.checkpoint(ShardId(1)).await.unwrap(), None);
    server.end().await;
}

#[tokio::test]
async fn who_works_for_too_long_is_reported() {
    let Some(server) = Server::find().await else { return };
    let config = ScyllaConfig { migration_lease: Duration::from_secs(1), ..server.config() };
    let session = cluster::connect(&config).await.unwrap();
    schema::prepare(&session, &config, &[]).await.unwrap_err();
    let working = "INSERT INTO {}.meta (name, value) VALUES ('migrating', 'slow') IF NOT EXISTS";
    server.run(&working.replace("{}", &config.keyspace)).await;
    let error = ScyllaEvents::open(&config).await.err().unwrap();
    assert!(error.is_retryable(), "{error}");
    server.end().await;
}

#[tokio::test]
async fn a_keyspace_that_is_replicated_otherwise_is_refused() {
    let Some(server) = Server::find().await else { return };
    let config = server.config();
    ScyllaEvents::open(&config).await.unwrap();
    let other = ScyllaConfig { replication: Replication::Simple { factor: server.copies() + 1 }, ..config.clone() };
    let error = ScyllaEvents::open(&other).await.err().unwrap();
    assert!(matches!(error, StoreError::Misconfigured(_)), "{error}");
    server.run(&format!("ALTER KEYSPACE {} WITH durable_writes = false", config.keyspace)).await;
    let error = ScyllaEvents::open(&config).await.err().unwrap();
    assert!(error.to_string().contains("durable_writes"), "{error}");
    let datacenters = Replication::Datacenters([("datacenter1".to_owned(), 1)].into());
    let home = Some("datacenter1".to_owned());
    let config = ScyllaConfig { replication: datacenters, datacenter: home, ..server.config() };
    let store = ScyllaEvents::open(&config).await.unwrap();
    assert_eq!(store.checkpoint(ShardId(1)).await.unwrap(), None);
    server.end().await;
}

#[tokio::test]
async fn tables_that_are_not_pandas_are_reported_and_not_retried() {
    let Some(server) = Server::find().await else { return };
    let config = server.config();
    ScyllaEvents::open(&config).await.unwrap();
    server.run(&format!("ALTER TABLE {}.events DROP log_offset", config.keyspace)).await;
    let error = ScyllaEvents::open(&config).await.err().unwrap();
    assert!(matches!(error, StoreError::Unusable(_)), "{error}");
    server.end().await;
}

#[tokio::test]
async fn a_cluster_that_is_away_is_unavailable() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = ScyllaConfig::new(vec![nobody], "panda".into(), Replication::Simple { factor: 1 });
    let error = ScyllaEvents::open(&config).await.err().unwrap();
    assert!(error.is_retryable(), "{error}");
}

/// `cargo test --release -p panda-storage --lib -- --ignored --nocapture writes_a_second`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure, not a test: it depends on the machine"]
async fn writes_a_second() {
    const IN_FLIGHT: u8 = 128;
    const WRITES_EACH: u64 = 200;
    let Some(server) = Server::find().await else { return };
    let store = ScyllaEvents::open(&server.config()).await.unwrap();
    for events in [1, 8] {
        let write = |writer: u8| {
            let (store, entity) = (store.clone(), EntityId::from(UserId::from_random([writer; 16])));
            async move {
                for write in 0..WRITES_EACH {
                    let first = 1 + write * u64::from(events);
                    let row = |index: u8| EventRow {
                        seq: Seq(first + u64::from(index)),
                        position: Position { epoch: 1, offset: first },
                        index,
                        count: events,
                        time: Time(1_700_000_000_000_000 + u64::from(events) + first + u64::from(index)),
                        event: Bytes::from_static(&[7; 200]),
                    };
                    let rows = (0..events).map(row).collect();
                    let batch = EventBatch { entity, rows, owes: Vec::new(), settles: Vec::new() };
                    store.write_events(batch).await.unwrap();
                }
            }
        };
        let begun = tokio::time::Instant::now();
        let writers: tokio::task::JoinSet<()> = (0..IN_FLIGHT).map(write).collect();
        writers.join_all().await;
        let writes = f64::from(IN_FLIGHT) * f64::from(u32::try_from(WRITES_EACH).unwrap());
        let rate = writes / begun.elapsed().as_secs_f64();
        println!("{IN_FLIGHT} in flight, {events} events of 200 bytes a write: {rate:.0} writes a second");
    }
    server.end().await;
}
