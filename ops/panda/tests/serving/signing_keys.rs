//! `panda admin signing-keys` beside a server that runs.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Served;

const PATIENCE: Duration = Duration::from_secs(30);

fn admin(served: &Served, arguments: &[&str]) -> Result<String, String> {
    let data = served.data();
    let run = Command::new(env!("CARGO_BIN_EXE_panda"))
        .args(["admin", "signing-keys"])
        .args(arguments)
        .args(["--data", data.to_str().unwrap()])
        .output()
        .unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if run.status.success() { Ok(said(&run.stdout)) } else { Err(said(&run.stderr)) }
}

fn published(served: &Served) -> Vec<String> {
    let set: Value =
        ureq::get(format!("{}/.well-known/jwks.json", served.url)).call().unwrap().body_mut().read_json().unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a server of another process is waited for")]
fn a_key_is_published_by_a_running_server_seconds_after_the_command_and_only_one_at_a_time() {
    let served = Served::start(&[]);
    let body = r#"{"username":"ada","password":"correct horse"}"#;
    let mut answer = ureq::post(format!("{}/register", served.url)).send(body).unwrap();
    let granted: Value = answer.body_mut().read_json().unwrap();
    let first = published(&served);
    assert_eq!(first.len(), 1);
    let listed = admin(&served, &["list"]).unwrap();
    assert!(listed.starts_with(&first[0]) && listed.trim_end().ends_with(", signs"), "{listed}");
    let said = admin(&served, &["rotate"]).unwrap();
    let begun = Instant::now();
    while published(&served).len() < 2 {
        assert!(begun.elapsed() < PATIENCE, "the server does not read the new key");
        std::thread::sleep(Duration::from_millis(100));
    }
    let both = published(&served);
    assert_eq!(both[1], first[0]);
    assert!(said.starts_with(&format!("Signing key {} is published", both[0])), "{said}");
    let listed = admin(&served, &["list"]).unwrap();
    assert!(listed.lines().next().unwrap().contains("published; signs from "), "{listed}");
    let again = admin(&served, &["rotate"]).unwrap_err();
    assert!(again.contains("a turn is under way"), "{again}");
    let token = granted["access_token"].as_str().unwrap();
    let me = ureq::get(format!("{}/user/me", served.url)).header("Authorization", &format!("Bearer {token}")).call();
    assert_eq!(me.unwrap().status(), 200);
}
