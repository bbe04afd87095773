//! The server and the databases of tests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::config::Host;
use tokio_postgres::{Client, NoTls};

use crate::contract::test_server;

/// A throwaway server.
pub(super) struct TestServer {
    config: tokio_postgres::Config,
    admin: Client,
}

impl TestServer {
    /// The server that the environment names, if it does.
    pub(super) async fn named() -> Option<Self> {
        let url = test_server("Postgres", "PANDA_TEST_POSTGRES")?;
        let config: tokio_postgres::Config = url.parse().expect("PANDA_TEST_POSTGRES is a URL");
        let admin = connect(&config).await;
        Some(Self { config, admin })
    }

    pub(super) async fn create_database(&self) -> String {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let name = format!("panda_test_{}_{}", std::process::id(), CREATED.fetch_add(1, Ordering::Relaxed));
        self.drop_database(&name).await;
        self.admin
            .batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"))
            .await
            .unwrap();
        name
    }

    pub(super) async fn drop_database(&self, name: &str) {
        self.admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
    }

    /// The URL of a database, as a store is given it.
    pub(super) fn url_of(&self, database: &str) -> String {
        self.url_at(self.address(), database)
    }

    /// The URL of a database behind another address.
    pub(super) fn url_at(&self, address: SocketAddr, database: &str) -> String {
        let user = self.config.get_user().unwrap_or("postgres");
        let password = self.config.get_password().map(|password| format!(":{}", String::from_utf8_lossy(password)));
        format!("postgres://{user}{}@{address}/{database}", password.unwrap_or_default())
    }

    /// Where the server listens.
    pub(super) fn address(&self) -> SocketAddr {
        let Some(Host::Tcp(host)) = self.config.get_hosts().first() else { panic!("PANDA_TEST_POSTGRES names a host") };
        let host = if host == "localhost" { "127.0.0.1" } else { host };
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        SocketAddr::new(host.parse().expect("PANDA_TEST_POSTGRES names an address"), port)
    }

    /// A connection past the store.
    pub(super) async fn connect(&self, url: &str) -> Client {
        connect(&url.parse().unwrap()).await
    }

    /// Ends all connections to a database, as a restart of the server does.
    pub(super) async fn terminate(&self, database: &str) -> i64 {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1";
        self.admin.query_one(sql, &[&database]).await.unwrap().get(0)
    }

    /// Sessions of a database that are within a transaction.
    pub(super) async fn transactions(&self, database: &str) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND xact_start IS NOT NULL";
        self.admin.query_one(sql, &[&database]).await.unwrap().get(0)
    }
}

async fn connect(config: &tokio_postgres::Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.expect("the test server answers");
    tokio::spawn(connection);
    client
}

/// Runs a test with a new database, if there is a server.
pub(super) async fn with_database(test: impl AsyncFnOnce(&TestServer, &str)) {
    let Some(server) = TestServer::named().await else { return };
    let database = server.create_database().await;
    test(&server, &server.url_of(&database)).await;
    server.drop_database(&database).await;
}

/// The database of a URL that [`TestServer::url_of`] made.
pub(super) fn database_of(url: &str) -> &str {
    url.rsplit('/').next().expect("a URL has a path")
}
