//! `panda chat` at the end of a pipe, as scripts use it: what it says is stored when it ends well.
#![expect(clippy::unwrap_used, reason = "a test's panic is its failure")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

const PASSWORD: &str = "correct horse";

/// A `panda serve` that ends with the test.
struct Served {
    process: Child,
    url: String,
}

impl Served {
    fn start(data: &Path) -> Self {
        let mut process = panda(&["serve", "--data", data.to_str().unwrap()])
            .args(["--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--health", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let panel = BufReader::new(process.stdout.take().unwrap());
        let page = panel.lines().find_map(|line| line.unwrap().trim().strip_prefix("page").map(str::to_owned));
        Self { process, url: page.unwrap().trim().to_owned() }
    }

    fn post(&self, path: &str, token: Option<&str>, body: &Value) -> Value {
        let mut request = ureq::post(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = request.send_json(body).unwrap().into_body().read_to_vec().unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    fn register(&self, name: &str) -> String {
        let user = self.post("/register", None, &json!({ "username": name, "password": PASSWORD }));
        user["access_token"].as_str().unwrap().to_owned()
    }

    fn messages(&self, chat: &str, token: &str) -> Vec<String> {
        let request =
            ureq::get(format!("{}/chats/{chat}", self.url)).header("Authorization", format!("Bearer {token}"));
        let page: Value = serde_json::from_slice(&request.call().unwrap().into_body().read_to_vec().unwrap()).unwrap();
        page["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|message| message["text"].as_str().unwrap().to_owned())
            .collect()
    }

    /// What becomes of `panda chat` of this user with these flags and this input.
    fn chat(&self, user: &str, flags: &[&str], typed: &str) -> Output {
        let mut chat = panda(&["chat", "--server", &self.url, "--user", user])
            .args(flags)
            .env("PANDA_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        chat.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
        chat.wait_with_output().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn panda(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panda"));
    command.args(arguments);
    command
}

#[test]
fn a_server_that_is_not_there_is_told_before_a_password_is_asked_for() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut chat = panda(&["chat", "--server", &format!("http://{nobody}"), "--user", "ada"]);
    let output = chat.env_remove("PANDA_PASSWORD").stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains(&format!("find a Panda at http://{nobody}")), "{complaint}");
}

#[test]
fn a_line_from_a_pipe_is_stored_in_the_chat_that_is_named_or_the_command_fails() {
    let data = tempfile::tempdir().unwrap();
    let server = Served::start(&data.path().join("data"));
    let (ada, _ben) = (server.register("ada"), server.register("ben"));
    let made = ["tea", "team"].map(|name| {
        let chat = server.post("/chats", Some(&ada), &json!({ "name": name, "members": ["@ben"] }));
        chat["id"].as_str().unwrap().to_owned()
    });
    let complaint = |output: &Output| String::from_utf8(output.stderr.clone()).unwrap();

    for flags in [&["--chat", "tea"][..], &["--chat", "tea", "--ws"]] {
        let output = server.chat("ada", flags, "hi\n");
        assert!(output.status.success(), "{output:?}");
    }
    let lost = server.chat("ada", &["--chat", "nothing"], "lost\n");
    assert!(!lost.status.success() && complaint(&lost).contains("there is no chat like nothing"), "{lost:?}");
    let either = server.chat("ada", &["--chat", "te"], "lost\n");
    assert!(!either.status.success() && complaint(&either).contains("several chats are like te"), "{either:?}");
    // Whoever has chats may have one open already when the line comes.
    server.register("cyd");
    let nowhere = server.chat("cyd", &[], "lost\n");
    assert!(!nowhere.status.success() && complaint(&nowhere).contains("no chat is open"), "{nowhere:?}");
    assert_eq!(made.map(|chat| server.messages(&chat, &ada)), [vec!["hi", "hi"], vec![]]);
}
