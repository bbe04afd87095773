//! What scripts rely on: the exit status, and a sentence that says what to do.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn loadtest(arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } =
        Command::new(env!("CARGO_BIN_EXE_panda-loadtest")).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

/// An address on which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

fn key_file(folder: &Path) -> String {
    let path = folder.join("admin.key");
    std::fs::write(&path, "panda_key\n").unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_target_that_is_not_there_is_status_3() {
    let folder = tempfile::tempdir().unwrap();
    let (status, said) = loadtest(&[
        "idle",
        "--sessions",
        "1",
        "--duration",
        "1s",
        "--target",
        &nobody(),
        "--api-key-file",
        &key_file(folder.path()),
    ]);
    assert_eq!(status, 3, "{said}");
    assert!(said.contains("cannot be reached"), "{said}");
}

#[test]
fn a_flag_right_behind_the_name_of_a_scenario_is_the_scenarios() {
    let folder = tempfile::tempdir().unwrap();
    let target = nobody();
    let (status, said) =
        loadtest(&["run", "idle", "--target", &target, "--api-key-file", &key_file(folder.path()), "--sessions", "1"]);
    assert_eq!(status, 3, "{said}");
    assert!(said.contains(&target), "{said}");
    for before in [["--note", "x", "run", "idle"], ["run", "--note", "x", "idle"]] {
        let (status, said) = loadtest(&before);
        assert!(status == 2 && said.contains("flags come behind the scenario"), "{status}: {said}");
    }
}

/// An address at which everything is answered with this status and no word.
fn mute(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for asked in listener.incoming() {
            let mut asked = asked.unwrap();
            assert!(asked.read(&mut [0; 4_096]).unwrap() > 0);
            write!(asked, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    base
}

#[test]
fn a_target_that_is_no_panda_is_told_with_what_it_answered() {
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(folder.path());
    for status in ["404 Not Found", "401 Unauthorized"] {
        let base = mute(status);
        let (code, said) =
            loadtest(&["idle", "--sessions", "1", "--duration", "1s", "--target", &base, "--api-key-file", &key]);
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(&status[..3]) && said.contains("nothing like a Panda answers there"), "{said}");
    }
}

#[test]
fn a_file_that_cannot_be_written_is_told_before_anything_is_asked_of_a_target() {
    let folder = tempfile::tempdir().unwrap();
    let (key, target) = (key_file(folder.path()), nobody());
    let steady = ["steady", "--sessions", "1", "--chats", "1", "--rate", "1", "--duration", "1s"];
    for flag in ["--record", "--json"] {
        let more = ["--target", &target, "--api-key-file", &key, flag, "/nowhere/file"];
        let (status, said) = loadtest(&[&steady[..], &more[..]].concat());
        assert_eq!(status, 2, "{said}");
        assert!(said.contains(&format!("{flag} /nowhere/file cannot be written")), "{said}");
    }
}

#[test]
fn an_interrupt_is_told_in_the_json_too() {
    let folder = tempfile::tempdir().unwrap();
    let (key, json) = (key_file(folder.path()), folder.path().join("summary.json"));
    std::fs::write(&json, r#"{"held":true}"#).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_panda-loadtest"));
    command.args(["idle", "--sessions", "1", "--duration", "1s", "--target", &base, "--api-key-file", &key]);
    command.arg("--json").arg(&json);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It waits for an answer that does not come.
    let asked = listener.accept().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    drop(asked);
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert!(written["held"].is_null() && written["problem"].as_str().unwrap().contains("interrupted"), "{written}");
}

#[test]
fn what_cannot_be_asked_for_is_status_2_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let key = key_file(folder.path());
    let steady = ["steady", "--chats", "1", "--rate", "1", "--duration", "1s", "--api-key-file", key.as_str()];
    let empty = folder.path().join("empty.key");
    std::fs::write(&empty, "\n").unwrap();
    let empty = empty.to_str().unwrap();
    let idle = ["idle", "--sessions", "1", "--duration", "1s", "--api-key-file"];
    let cases: &[(&[&str], &str)] = &[
        (&[&idle[..], &[&key, "--target", "127.0.0.1:8080"]].concat(), "lacks its scheme: write http://127.0.0.1:8080"),
        (&[&idle[..], &[&key, "--target", "ftp://127.0.0.1"]].concat(), "no base URL such as http://127.0.0.1:8080"),
        (&[&idle[..], &[empty]].concat(), "empty.key is empty: the API key is to be in it"),
        (&["steady", "--sessions", "0"], "--sessions"),
        (&["idle", "--sessions", "1", "--duration", "1s", "--api-key-file", "/nowhere/admin.key"], "--api-key-file"),
        (&["replay", "/nowhere/transcript.jsonl", "--api-key-file", &key], "transcript cannot be read"),
        (&[&steady[..], &["--sessions", "20000"]].concat(), "take more chats"),
        (&[&steady[..], &["--sessions", "1", "--active", "2"]].concat(), "more than --chats 1"),
        (&["chaos", "--cluster-command", "/nowhere/cluster"], "cannot be run"),
        (&["chaos", "--cluster-command", "false"], "status --name dev' failed"),
        (&["chaos", "--rate", "1"], "--rate"),
        (&["reads", "--count", "0"], "--count"),
        (&["members", "--sessions", "3", "--chats", "2", "--duration", "1s"], "2 chats need at least 4 sessions"),
        (&["chaos", "--table", "t.md", "--faults", "3"], "--table"),
    ];
    for (arguments, sentence) in cases {
        let (status, said) = loadtest(arguments);
        assert_eq!(status, 2, "{arguments:?}: {said}");
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
}
