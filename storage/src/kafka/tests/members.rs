//! Members in processes of their own, which a test stops and kills.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::sync::mpsc;

use super::*;
use crate::command_log::{ShardChange, ShardGroup as _};

/// Names topic and brokers to a process that is to be a member.
const MEMBER: &str = "PANDA_TEST_KAFKA_MEMBER";

/// What a process of its own does; as a test it has nothing to do.
#[tokio::test]
async fn a_member_of_its_own() {
    let Ok(named) = std::env::var(MEMBER) else { return };
    let (topic, brokers) = named.split_once(' ').unwrap();
    let config = KafkaLogConfig::new(brokers.split(',').map(str::to_owned).collect(), 4, 1);
    let config = KafkaLogConfig { topic: topic.into(), group: topic.into(), ..config };
    let mut member = KafkaLog::connect(&config, EPOCH).await.unwrap().join(2);
    // The first line ends the harness's own.
    println!();
    while let Ok(change) = member.next().await {
        match change {
            ShardChange::Assigned(shard) => println!("+{}", shard.0),
            ShardChange::Revoked(shard) => println!("-{}", shard.0),
            ShardChange::Joined | ShardChange::Left => {}
        }
    }
}

struct Process {
    child: Child,
    changes: mpsc::Receiver<String>,
}

impl Process {
    fn start(config: &KafkaLogConfig) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kafka::tests::members::a_member_of_its_own", "--nocapture"])
            .env(MEMBER, format!("{} {}", config.topic, config.brokers.join(",")))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (told, changes) = mpsc::channel(64);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok).filter(|line| line.starts_with(['+', '-'])) {
                if told.blocking_send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, changes }
    }

    async fn tells(&mut self, sign: char, count: usize) {
        let mut told = 0;
        while told < count {
            let line = self.changes.recv().await.expect("the process lives");
            assert!(line.starts_with(sign), "{line}");
            told += 1;
        }
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be dead already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Follows a member until it owns as many shards as are wanted.
async fn owns(member: &mut KafkaGroup, owned: &mut usize, wanted: usize) {
    while *owned != wanted {
        match member.next().await.unwrap() {
            ShardChange::Assigned(_) => *owned += 1,
            ShardChange::Revoked(_) => *owned -= 1,
            ShardChange::Joined | ShardChange::Left => {}
        }
    }
}

#[tokio::test]
async fn a_process_that_hangs_or_dies_loses_its_shards_to_the_others_within_six_seconds() {
    let Some(server) = Server::find() else { return };
    let config = server.config();
    let test = async {
        let log = KafkaLog::connect(&config, EPOCH).await.unwrap();
        let (mut member, mut owned) = (log.join(1), 0);
        owns(&mut member, &mut owned, 4).await;
        let mut process = Process::start(&config);
        owns(&mut member, &mut owned, 2).await;
        process.tells('+', 2).await;
        for signal in ["-STOP", "-KILL"] {
            process.signal(signal);
            let taken = tokio::time::timeout(Duration::from_secs(6), owns(&mut member, &mut owned, 4));
            taken.await.unwrap_or_else(|_| panic!("the shards move after {signal}"));
            if signal == "-STOP" {
                // It learns that it lost them, joins again, and gets its part.
                process.signal("-CONT");
                process.tells('-', 2).await;
                owns(&mut member, &mut owned, 2).await;
                process.tells('+', 2).await;
            }
        }
    };
    tokio::time::timeout(GUARD, test).await.expect("the group settles");
    server.end().await;
}

#[tokio::test]
async fn a_member_that_leaves_hands_over_before_its_session_ends_and_its_end_can_be_waited_for() {
    let Some(server) = Server::find() else { return };
    let config = server.config();
    let test = async {
        let (log, other) =
            (KafkaLog::connect(&config, EPOCH).await.unwrap(), KafkaLog::connect(&config, EPOCH).await.unwrap());
        let (mut member, mut owned) = (log.join(1), 0);
        owns(&mut member, &mut owned, 4).await;
        let mut leaving = other.join(2);
        owns(&mut member, &mut owned, 2).await;
        // One that owns nothing yet is only missed when its session ends.
        owns(&mut leaving, &mut 0, 2).await;
        let end = other.ended();
        let left = tokio::time::Instant::now();
        drop((leaving, other));
        let taken = tokio::time::timeout(config::SESSION_TIMEOUT * 2 / 3, owns(&mut member, &mut owned, 4));
        taken.await.expect("the shards move at once");
        println!("the shards of a member that left moved in {:?}", left.elapsed());
        assert!(end.wait(Duration::from_secs(5)).await);
    };
    tokio::time::timeout(GUARD, test).await.expect("the group settles");
    server.end().await;
}
