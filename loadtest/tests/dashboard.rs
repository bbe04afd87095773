//! A dashboard leaves the terminal as it was, however the run ends. `script` of util-linux gives it a terminal.

#![expect(clippy::unwrap_used, reason = "a test may fail anywhere")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

const TAKES: &str = "\u{1b}[?1049h";
const GIVES_BACK: &str = "\u{1b}[?1049l";

/// A run whose target is there and never answers, on a terminal of its own.
fn on_a_terminal(target: &TcpListener, folder: &std::path::Path) -> Child {
    let key = folder.join("admin.key");
    std::fs::write(&key, "panda_key\n").unwrap();
    let line = format!(
        "stty rows 40 cols 120 && exec {} idle --sessions 1 --duration 1s --target http://{} --api-key-file {}",
        env!("CARGO_BIN_EXE_panda-loadtest"),
        target.local_addr().unwrap(),
        key.display()
    );
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]).env("TERM", "xterm-256color");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

fn ended(mut run: Child) -> (i32, String) {
    let mut seen = Vec::new();
    run.stdout.take().unwrap().read_to_end(&mut seen).unwrap();
    (run.wait().unwrap().code().unwrap(), String::from_utf8_lossy(&seen).into_owned())
}

#[test]
fn ctrl_c_ends_a_run_and_gives_the_terminal_back_before_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut run = on_a_terminal(&target, folder.path());
    // It shows itself before it asks anything of a target.
    let asked = target.accept().unwrap();
    run.stdin.as_ref().unwrap().write_all(b"\x03").unwrap();
    let stdin = run.stdin.take();
    let (status, seen) = ended(run);
    drop((asked, stdin));
    assert_eq!(status, 2, "{seen}");
    let (before, behind) = seen.split_once(GIVES_BACK).unwrap();
    assert!(before.contains(TAKES) && before.contains("ends the run"), "{seen}");
    assert!(behind.contains("interrupted") && !behind.contains(TAKES), "{seen}");
}

#[test]
fn a_run_whose_target_goes_away_gives_the_terminal_back() {
    let folder = tempfile::tempdir().unwrap();
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut run = on_a_terminal(&target, folder.path());
    // Every connection is closed without a word.
    std::thread::spawn(move || target.incoming().for_each(drop));
    let stdin = run.stdin.take();
    let (status, seen) = ended(run);
    drop(stdin);
    assert_eq!(status, 3, "{seen}");
    assert!(seen.split_once(GIVES_BACK).is_some_and(|(_, behind)| behind.contains("panda-loadtest: ")), "{seen}");
}

#[test]
fn without_a_terminal_a_dashboard_is_refused_if_it_must_be_and_left_out_if_not() {
    let run = |dashboard: &str| {
        let arguments = ["idle", "--sessions", "1", "--duration", "1s", "--api-key-file", "/nowhere/key", dashboard];
        let output = Command::new(env!("CARGO_BIN_EXE_panda-loadtest")).args(arguments).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (status, said) = run("--dashboard=on");
    assert!(status == 2 && said.contains("needs a terminal as standard output"), "{said}");
    let (status, said) = run("--dashboard=auto");
    assert!(status == 2 && said.contains("/nowhere/key"), "{said}");
}
