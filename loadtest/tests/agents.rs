//! Controller and agent over real TCP: who is let in, and what is told.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use panda_loadtest::agent::{Channel, Crew, Greeting, Heard, Opening, Order, PROTOCOL, Secret, Word};
use panda_loadtest::lean::Job;

struct Agent {
    child: Child,
    address: String,
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An agent process on this machine, with this secret.
fn agent(secret: Option<&str>) -> Agent {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panda-loadtest"));
    command.args(["agent", "--listen", "127.0.0.1:0"]).env_remove("PANDA_LOADTEST_SECRET");
    if let Some(secret) = secret {
        command.env("PANDA_LOADTEST_SECRET", secret);
    }
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let address = said.trim().rsplit_once(' ').unwrap().1.to_owned();
    Agent { child, address }
}

#[test]
fn a_controller_without_the_agents_secret_is_refused_and_the_next_one_is_served() {
    let (secret, other) = ("a secret of a test", "another one of a test");
    let agent = agent(Some(secret));
    let at = |secret: Option<&str>| {
        let secret = secret.map(|secret| Secret::new(secret).unwrap());
        Crew::at(std::slice::from_ref(&agent.address), secret.as_ref())
    };
    for wrong in [None, Some(other)] {
        let error = at(wrong).unwrap_err().to_string();
        assert!(error.contains(&agent.address) && error.contains("--secret-file"), "{error}");
    }
    assert_eq!(at(Some(secret)).unwrap().agents.len(), 1);
}

#[test]
fn a_controller_of_another_version_is_refused() {
    let agent = agent(None);
    let mut channel = Channel::new(TcpStream::connect(&agent.address).unwrap()).unwrap();
    let greeting: Greeting = channel.receive().unwrap().unwrap();
    assert_eq!(greeting.protocol, PROTOCOL);
    let opening = Opening { protocol: PROTOCOL + 1, version: "9".into(), proof: String::new(), nonce: String::new() };
    channel.send(&opening).unwrap();
    let Some(Word::Refused(why)) = channel.receive::<Word>().unwrap() else { panic!("it was taken") };
    assert!(why.contains("run one version"), "{why}");
}

#[tokio::test]
async fn an_agent_that_is_killed_is_told_as_gone() {
    let mut agent = agent(None);
    let mut crew = Crew::at(std::slice::from_ref(&agent.address), None).unwrap();
    let servers = vec!["127.0.0.1:1".parse().unwrap()];
    let job =
        Job { agent: 0, servers, path: "/ws".into(), sessions: 0, tls: false, comes_back: false, receive_bytes: None };
    crew.agents[0].tell(&Order::Job(job)).unwrap();
    crew.agents[0].tell(&Order::Open).unwrap();
    // It has nothing to open, and is ready at once.
    loop {
        match crew.next().await.unwrap() {
            (0, Heard::Said(Word::Ready)) => break,
            (0, Heard::Said(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    agent.child.kill().unwrap();
    loop {
        match crew.next().await.unwrap() {
            (0, Heard::Gone(_)) => break,
            (0, Heard::Said(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_address_that_others_reach_needs_a_secret() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panda-loadtest"));
    command.args(["agent", "--listen", "0.0.0.0:0"]).env_remove("PANDA_LOADTEST_SECRET");
    let said = command.output().unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8(said.stderr).unwrap().contains("--secret-file"));
}
