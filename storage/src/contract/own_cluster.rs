//! A backing service of a test's own, which `ops/cluster` starts, kills, pauses and removes.

use std::process::Command;

use tokio::sync::{Mutex, MutexGuard};
use tokio::task::spawn_blocking;

/// One at a time: each is some hundred megabytes.
static ALONE: Mutex<()> = Mutex::const_new(());

/// One process of one service; dropping it removes it.
pub(crate) struct OwnCluster {
    name: String,
    /// `host:port`.
    pub(crate) address: String,
    _alone: MutexGuard<'static, ()>,
}

impl OwnCluster {
    /// Starts a service, named as `ops/cluster services` names it.
    pub(crate) async fn start(service: &'static str) -> Self {
        let alone = ALONE.lock().await;
        let name = format!("storage-faults-{:08x}", rand::random::<u32>());
        // Made before anything runs, so that whatever runs is removed.
        let mut cluster = Self { name, address: String::new(), _alone: alone };
        let printed = cluster.run("services", service).await;
        let variable = format!("PANDA_TEST_{}=", service.to_uppercase());
        let address = printed.lines().find_map(|line| line.strip_prefix(&variable));
        cluster.address = address.expect("the server has an address").to_owned();
        cluster
    }

    /// Runs a verb of `ops/cluster` elsewhere, so that the test goes on meanwhile. Returns what it printed.
    pub(crate) async fn run(&self, verb: &'static str, part: &'static str) -> String {
        let name = self.name.clone();
        spawn_blocking(move || run(&[verb, "--name", &name, part])).await.unwrap()
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        run(&["down", "--wipe", "--name", &self.name]);
    }
}

fn run(arguments: &[&str]) -> String {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../ops/cluster")).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ops/cluster {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}
