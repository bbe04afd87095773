//! How tables come to be, and which are left alone.

use super::super::schema::{MIGRATIONS, prepare};
use super::*;
use panda_protocol::LoginId;

/// Tables of version 1 with two users, as a release wrote them.
const VERSION_1: &str = include_str!("version_1.sql");
/// The same of version 2, with logins.
const VERSION_2: &str = include_str!("version_2.sql");

fn connections(url: &str) -> Connections {
    Connections::new(&PostgresConfig::new(url)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_processes_migrate_an_empty_database_at_once() {
    with_database(async |server, url| {
        let starts: Vec<_> = (0..8)
            .map(|_| {
                let config = PostgresConfig::new(url);
                tokio::spawn(async move { PostgresUsers::open(&config, NOW).await })
            })
            .collect();
        for start in starts {
            start.await.unwrap().unwrap();
        }
        let client = server.connect(url).await;
        let rows =
            client.query("SELECT version, applied_us FROM panda.migrations ORDER BY version", &[]).await.unwrap();
        let done: Vec<(i64, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let all = 1..=i64::try_from(MIGRATIONS.len()).unwrap();
        assert_eq!(done, all.map(|version| (version, 1_800_000_000_000_000)).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn ended_logins_that_are_over_are_found_by_an_index() {
    with_database(async |server, url| {
        open(url).await;
        let client = server.connect(url).await;
        // A table without rows is read whole whatever there is, unless that is as good as forbidden.
        client.batch_execute("SET enable_seqscan = off").await.unwrap();
        let plan = "EXPLAIN DELETE FROM panda.ended_logins WHERE access_ends_us < 7";
        let plan: Vec<String> =
            client.query(plan, &[]).await.unwrap().iter().map(|row| row.get::<_, String>(0)).collect();
        assert!(plan.iter().any(|line| line.contains("ended_logins_over")), "{plan:?}");
    })
    .await;
}

#[tokio::test]
async fn an_older_database_is_migrated_and_keeps_its_users() {
    with_database(async |server, url| {
        server.connect(url).await.batch_execute(VERSION_1).await.unwrap();
        let next = [MIGRATIONS[0], "ALTER TABLE panda.users ADD COLUMN colour TEXT NOT NULL DEFAULT 'none'"];
        prepare(&connections(url), &next, NOW).await.unwrap();
        prepare(&connections(url), &next, NOW).await.unwrap();
        let client = server.connect(url).await;
        let rows = client.query("SELECT colour FROM panda.users", &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get::<_, &str>(0)).collect::<Vec<_>>(), ["none", "none"]);
        let version: i64 = client.query_one("SELECT max(version) FROM panda.migrations", &[]).await.unwrap().get(0);
        assert_eq!(version, 2);
    })
    .await;
}

#[tokio::test]
async fn the_sample_of_version_1_is_read() {
    with_database(async |server, url| {
        server.connect(url).await.batch_execute(VERSION_1).await.unwrap();
        let store = open(url).await;
        let names = ["ADA", "bob"].map(|name| Username::parse(name).unwrap());
        let [ada, bob] = <[_; 2]>::try_from(store.users_by_name(names.to_vec()).await.unwrap()).unwrap();
        let (ada, bob) = (ada.unwrap(), bob.unwrap());
        assert_eq!((ada.username.as_str(), ada.version, ada.created), ("Ada", 3, Time(1_700_000_000_000_000)));
        assert_eq!(ada.email.unwrap().as_str(), "ada@example.org");
        assert_eq!((bob.email, bob.picture.unwrap().as_str()), (None, "https://example.org/bob.png"));
        let [ada, bob] = names.map(|name| store.credential(name));
        assert_eq!(ada.await.unwrap().unwrap().password, Some(PasswordHash("$argon2id$v=19$sample".into())));
        assert_eq!(bob.await.unwrap().unwrap().password, None);
        assert_eq!(store.api_key([0xab; 32]).await.unwrap().unwrap().label.as_str(), "sample");
        assert_eq!(store.signing_keys().await.unwrap()[0].sealed, [1, 2, 3]);
        store.create_user(new_user(9, "eve")).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_sample_of_version_2_is_read() {
    with_database(async |server, url| {
        server.connect(url).await.batch_execute(VERSION_2).await.unwrap();
        let (store, ada) = (open(url).await, UserId::from_random([1; 16]));
        let limits = LoginLimits {
            access: Duration::from_secs(3_600),
            idle: Duration::from_secs(7_200),
            lifetime: Duration::from_secs(7_200),
            grace: Duration::from_secs(60),
        };
        let now = Time(1_700_000_000_000_007);
        let logins = store.logins(ada, limits, now).await.unwrap();
        let told = |login: &Login| (login.id, login.label.as_ref().map(ToString::to_string), login.used.0 % 10);
        let expected = [(LoginId::from_random(1), Some("laptop".to_owned()), 6), (LoginId::from_random(2), None, 5)];
        assert_eq!(logins.iter().map(told).collect::<Vec<_>>(), expected);
        let refresh = Refresh { of: (ada, expected[0].0), brought: [1; 32], next: [4; 32], next_sealed: vec![4], now };
        let repeated = store.refresh_login(refresh, limits).await.unwrap();
        assert!(
            matches!(&repeated, Refreshed::Repeated { next_sealed, .. } if *next_sealed == [10, 11]),
            "{repeated:?}"
        );
        let ended = store.ended_logins(0, 10).await.unwrap();
        assert_eq!(ended.iter().map(|ended| ended.id).collect::<Vec<_>>(), [LoginId::from_random(9)]);
        let more = store.end_logins(ada, WhichLogins::All, now).await.unwrap();
        assert!(more.len() == 2 && more.iter().all(|more| more.place > ended[0].place));
    })
    .await;
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing() {
    with_database(async |_, url| {
        let broken = [MIGRATIONS[0], "CREATE TABLE panda.half (id BIGINT); SELECT 1 / 0"];
        let refused = prepare(&connections(url), &broken, NOW).await;
        assert!(matches!(refused, Err(UserStoreError::Store(StoreError::Corrupt(_)))), "{refused:?}");
        // The first is done and noted, nothing of the second.
        let mended = [MIGRATIONS[0], "CREATE TABLE panda.half (id BIGINT)"];
        prepare(&connections(url), &mended, NOW).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn newer_tables_are_refused_and_not_touched() {
    with_database(async |server, url| {
        drop(open(url).await);
        let client = server.connect(url).await;
        client.batch_execute("INSERT INTO panda.migrations VALUES (99, 0); DROP TABLE panda.api_keys").await.unwrap();
        let refused = PostgresUsers::open(&PostgresConfig::new(url), NOW).await.map(drop);
        let newest = u32::try_from(MIGRATIONS.len()).unwrap();
        assert!(matches!(refused, Err(StoreError::Newer { found: 99, known, .. }) if known == newest), "{refused:?}");
        let row = client.query_one("SELECT count(*), to_regclass('panda.api_keys')::text FROM panda.migrations", &[]);
        let row = row.await.unwrap();
        // Those that were done, and the one of the newer program.
        assert_eq!((row.get::<_, i64>(0), row.get::<_, Option<&str>>(1)), (i64::from(newest) + 1, None));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_user_store_is_refused() {
    with_database(async |server, url| {
        let client = server.connect(url).await;
        // Other things of the same database are none of ours.
        client.batch_execute("CREATE TABLE users (name TEXT)").await.unwrap();
        drop(open(url).await);
        client.batch_execute("DROP SCHEMA panda CASCADE; CREATE SCHEMA panda").await.unwrap();
        drop(open(url).await);
        client
            .batch_execute("DROP SCHEMA panda CASCADE; CREATE SCHEMA panda; CREATE TABLE panda.recipes (name TEXT)")
            .await
            .unwrap();
        let refused = PostgresUsers::open(&PostgresConfig::new(url), NOW).await.map(drop);
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn a_database_that_cannot_keep_every_text_is_refused() {
    with_database(async |server, url| {
        let client = server.connect(url).await;
        let name = format!("{}_latin", server::database_of(url));
        let sql = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
        client.batch_execute(&sql).await.unwrap();
        let refused = PostgresUsers::open(&PostgresConfig::new(server.url_of(&name)), NOW).await.map(drop);
        assert!(matches!(&refused, Err(StoreError::Corrupt(text)) if text.contains("LATIN1")), "{refused:?}");
        server.drop_database(&name).await;
    })
    .await;
}
