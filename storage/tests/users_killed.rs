//! SQLite keeps the users' files by itself, so no disk of a test can be put under it. What is shown here
//! is that nothing acknowledged waits inside of the process: it is killed (-9) under registrations, and
//! every user whose registration was answered is there; and under uses of refresh tokens, and whoever got an
//! answer goes on, as does who got none. That SQLite also waits for the disk is its own
//! promise (`synchronous = FULL`), which `the_users_file_waits_for_the_disk` holds it to.
#![expect(clippy::unwrap_used, reason = "a test's panic is its failure")]

use std::env;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use panda_protocol::{LoginId, Time, UserId};
use panda_storage::UserStore;
use panda_storage::embedded::SqliteUsers;
use panda_storage::user_store::{LoginLimits, NewLogin, NewUser, PasswordHash, Refresh, Refreshed, Username};
use tokio::task::JoinSet;

/// Names the file to the process that registers until it is killed.
const FILE_VARIABLE: &str = "PANDA_TEST_USERS_FILE";
const NOW: Time = Time(1_800_000_000_000_000);
/// Registrations that are under way at the same time.
const TASKS: u64 = 4;
/// More than any round lets be acknowledged.
const USERS_MAX: u64 = 1_000_000;

fn user(number: u64) -> NewUser {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    NewUser {
        id: UserId::from_random(bytes),
        username: Username::parse(&format!("user{number}")).unwrap(),
        email: None,
        password: Some(PasswordHash(format!("hash of {number}"))),
        created: NOW,
    }
}

/// What the killed process does: registers, and writes each number once it is acknowledged.
async fn register(path: &Path, first: u64) {
    let store = SqliteUsers::open(path, NOW).unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for number in (first + task..USERS_MAX).step_by(usize::try_from(TASKS).unwrap()) {
                store.create_user(user(number)).await.unwrap();
                let mut out = io::stdout().lock();
                writeln!(out, "{number}").and_then(|()| out.flush()).unwrap();
            }
        });
    }
    tasks.join_all().await;
}

/// This test again as a process of its own, which only does what is to be killed.
fn start(test: &str, path: &Path, first: u64) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command.env(FILE_VARIABLE, format!("{first} {}", path.display())).stdout(Stdio::piped()).spawn().unwrap()
}

#[tokio::test]
async fn every_acknowledged_user_outlives_a_kill() {
    if let Ok(order) = env::var(FILE_VARIABLE) {
        let (first, path) = order.split_once(' ').unwrap();
        return register(Path::new(path), first.parse().unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    let mut acknowledged = Vec::new();
    for (round, count) in [1, 10, 40, 25].into_iter().enumerate() {
        let mut process = start("every_acknowledged_user_outlives_a_kill", &path, round as u64 * 10_000);
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut numbers = lines.filter_map(|line| line.unwrap().parse::<u64>().ok());
        acknowledged.extend(numbers.by_ref().take(count));
        process.kill().unwrap();
        // What it wrote until it was dead counts too.
        acknowledged.extend(numbers);
        process.wait().unwrap();
        let store = SqliteUsers::open(&path, NOW).unwrap();
        for number in &acknowledged {
            let user = user(*number);
            let found = store.users(vec![user.id]).await.unwrap().remove(0);
            assert_eq!(found.map(|found| found.username), Some(user.username.clone()), "user {number}");
            let credential = store.credential(user.username).await.unwrap().unwrap();
            assert_eq!(credential.password.unwrap().0, format!("hash of {number}"));
        }
    }
    assert!(acknowledged.len() >= 76);
}

const LIMITS: LoginLimits = LoginLimits {
    access: Duration::from_secs(3_600),
    idle: Duration::from_secs(86_400),
    lifetime: Duration::from_secs(86_400),
    grace: Duration::from_secs(60),
};

fn login() -> (UserId, LoginId) {
    (user(0).id, LoginId::from_random(1))
}

/// The digest of the refresh token of a turn.
fn digest(turn: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&turn.to_be_bytes());
    digest
}

fn use_of(turn: u64) -> Refresh {
    let next_sealed = (turn + 1).to_be_bytes().to_vec();
    Refresh { of: login(), brought: digest(turn), next: digest(turn + 1), next_sealed, now: NOW }
}

/// What the killed process does: uses one refresh token after the other, and writes each turn once it is answered.
async fn refresh(path: &Path, first: u64) {
    let store = SqliteUsers::open(path, NOW).unwrap();
    for turn in first..u64::MAX {
        let refreshed = store.refresh_login(use_of(turn), LIMITS).await.unwrap();
        assert!(matches!(refreshed, Refreshed::Rotated { .. }), "{turn}: {refreshed:?}");
        let mut out = io::stdout().lock();
        writeln!(out, "{turn}").and_then(|()| out.flush()).unwrap();
    }
}

#[tokio::test]
async fn who_got_the_last_answer_before_a_kill_goes_on_and_who_got_none_too() {
    if let Ok(order) = env::var(FILE_VARIABLE) {
        let (first, path) = order.split_once(' ').unwrap();
        return refresh(Path::new(path), first.parse().unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.db");
    let store = SqliteUsers::open(&path, NOW).unwrap();
    let (user_id, id) = login();
    store.create_user(user(0)).await.unwrap();
    let new = NewLogin { user: user_id, id, label: None, refresh: digest(0), created: NOW };
    store.add_login(new, LIMITS).await.unwrap();
    drop(store);
    let mut turn = 0;
    for count in [1, 7, 20, 3] {
        let test = "who_got_the_last_answer_before_a_kill_goes_on_and_who_got_none_too";
        let mut process = start(test, &path, turn);
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut turns = lines.filter_map(|line| line.unwrap().parse::<u64>().ok());
        let mut answered = turns.by_ref().take(count).last().expect("some were answered");
        process.kill().unwrap();
        // What it wrote until it was dead counts too.
        answered = turns.last().unwrap_or(answered);
        process.wait().unwrap();
        let store = SqliteUsers::open(&path, NOW).unwrap();
        // The token of the last answer was used once more at most, without an answer: then its successor is given again.
        match store.refresh_login(use_of(answered + 1), LIMITS).await.unwrap() {
            Refreshed::Rotated { .. } => {}
            Refreshed::Repeated { next_sealed, .. } => assert_eq!(next_sealed, (answered + 2).to_be_bytes()),
            other => panic!("{other:?} behind turn {answered}"),
        }
        turn = answered + 2;
    }
}
