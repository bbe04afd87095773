//! A server of one test that is killed with all its sessions and started again.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tempfile::TempDir;

use super::*;
use crate::contract::test_server;

/// Ends a test that hangs.
const GUARD: Duration = Duration::from_secs(120);
/// How often is looked whether something has come to pass.
const LOOK: Duration = Duration::from_millis(10);

struct OwnServer {
    programs: PathBuf,
    folder: TempDir,
    address: SocketAddr,
    process: Child,
}

impl OwnServer {
    /// Starts one, where servers are wanted.
    async fn start() -> Option<Self> {
        test_server("Postgres", "PANDA_TEST_POSTGRES")?;
        let programs = programs().expect("initdb can be found where PANDA_TEST_POSTGRES is set");
        let folder = tempfile::tempdir().unwrap();
        if is_root() {
            let owned = Command::new("chown").arg("postgres").arg(folder.path()).status().unwrap();
            assert!(owned.success());
        }
        let made = as_nobody_special(&programs.join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(folder.path().join("data"))
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let process = spawn(&programs, &folder, address);
        Some(Self { programs, folder, address, process })
    }

    fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address)
    }

    /// A store on the server, once it answers.
    async fn open(&self) -> PostgresUsers {
        let config = PostgresConfig { limits: patient(), ..PostgresConfig::new(self.url()) };
        let opened = async {
            loop {
                match PostgresUsers::open(&config, NOW).await {
                    Ok(store) => return store,
                    Err(error) => assert!(error.is_retryable(), "{error}"),
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(GUARD, opened).await.expect("the server comes up")
    }

    /// Kills the server; its sessions end with it.
    fn kill(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap();
        let pid = pid.lines().next().expect("the first line is the server's number");
        assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
        self.process.wait().unwrap();
    }

    /// Starts it again, as often as it takes: it refuses while sessions of the killed one end.
    async fn restart(&mut self) {
        let started = async {
            loop {
                self.process = spawn(&self.programs, &self.folder, self.address);
                while self.process.try_wait().unwrap().is_none() {
                    if tokio::net::TcpStream::connect(self.address).await.is_ok() {
                        return;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        tokio::time::timeout(GUARD, started).await.expect("the server comes back");
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        // The number in the file is this server's only while it runs.
        if matches!(self.process.try_wait(), Ok(None)) && self.folder.path().join("data/postmaster.pid").exists() {
            self.kill();
        }
    }
}

fn spawn(programs: &Path, folder: &TempDir, address: SocketAddr) -> Child {
    as_nobody_special(&programs.join("postgres"))
        .arg("-D")
        .arg(folder.path().join("data"))
        .args(["-p", &address.port().to_string(), "-c", "listen_addresses=127.0.0.1", "-c"])
        .arg(format!("unix_socket_directories={}", folder.path().display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Where the server's programs are: on the path, or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = debian.filter_map(|version| Some(version.ok()?.path().join("bin")));
    std::env::split_paths(&path).chain(debian).find(|folder| folder.join("initdb").exists())
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// The server refuses to run as root.
fn as_nobody_special(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

/// Creates users one after the other until told to stop; the identifiers of those whose creation was
/// answered. Every other answer is that the store is away.
async fn register(store: PostgresUsers, writer: u8, answered: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> Vec<UserId> {
    let mut ids = Vec::new();
    for number in 0..u32::MAX {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let mut id = [writer; 16];
        id[8..12].copy_from_slice(&number.to_be_bytes());
        let user = NewUser { id: UserId::from_random(id), ..new_user(1, &format!("user{writer}-{number}")) };
        match store.create_user(user).await {
            Ok(user) => {
                ids.push(user.id);
                answered.fetch_add(1, Ordering::SeqCst);
            }
            Err(UserStoreError::Store(error)) if error.is_retryable() => tokio::time::sleep(LOOK).await,
            Err(error) => panic!("{error}"),
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_whose_creation_was_answered_are_there_after_the_server_was_killed() {
    let Some(mut server) = OwnServer::start().await else { return };
    let store = server.open().await;
    let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let writers: Vec<_> = (1..=4)
        .map(|writer| tokio::spawn(register(store.clone(), writer, Arc::clone(&answered), Arc::clone(&stop))))
        .collect();
    let more = async |than: usize| {
        while answered.load(Ordering::SeqCst) <= than {
            tokio::time::sleep(LOOK).await;
        }
    };
    for _ in 0..3 {
        let before = answered.load(Ordering::SeqCst);
        tokio::time::timeout(GUARD, more(before + 40)).await.expect("the store heals by itself");
        server.kill();
        server.restart().await;
    }
    let before = answered.load(Ordering::SeqCst);
    tokio::time::timeout(GUARD, more(before + 40)).await.expect("the store heals by itself");
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        let ids = writer.await.unwrap();
        for ids in ids.chunks(USERS_MAX) {
            let there = store.users(ids.to_vec()).await.unwrap();
            assert!(there.iter().all(Option::is_some), "an answered creation is lost");
        }
    }
}
