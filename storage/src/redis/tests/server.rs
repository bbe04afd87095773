//! Servers of tests: the one that is named, and one of a test's own that it may stop and kill.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::contract::test_server;

/// Ends a test that hangs; no limit of the cache is near it.
pub(super) const GUARD: Duration = Duration::from_secs(60);
/// How often is looked whether something has come to pass.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// A connection past the cache.
pub(super) async fn raw(url: &str) -> MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// A server of one test.
pub(super) struct OwnServer {
    pub(super) address: SocketAddr,
    folder: TempDir,
    process: Child,
}

impl OwnServer {
    /// Starts one, where servers are wanted and the program is there.
    pub(super) async fn start() -> Option<Self> {
        test_server("Redis", "PANDA_TEST_REDIS")?;
        let folder = tempfile::tempdir().unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = spawn(address, &folder).expect("redis-server can be started where PANDA_TEST_REDIS is set");
        let this = Self { address, folder, process };
        this.ready().await;
        Some(this)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(super) fn stop(&self) {
        self.signal("-STOP");
    }

    pub(super) fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Kills it, as a loss of power does.
    pub(super) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Starts it again at the same place, empty.
    pub(super) async fn restart(&mut self) {
        self.process = spawn(self.address, &self.folder).unwrap();
        self.ready().await;
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    async fn ready(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        let ready = async {
            while client.get_multiplexed_async_connection().await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(GUARD, ready).await.expect("redis-server comes up");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // It may be stopped or dead already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn spawn(address: SocketAddr, folder: &TempDir) -> std::io::Result<Child> {
    Command::new("redis-server")
        .args([
            "--port",
            &address.port().to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--dir",
        ])
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
}
