//! `panda chat` at the end of a pipe, as scripts use it: what it says is stored when it ends well.
#![expect(clippy::unwrap_used, reason = "a test's panic is its failure")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
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

    /// Makes a chat, as the API is asked for one.
    fn make(&self, token: &str, chat: &Value) -> String {
        self.post("/chats", Some(token), chat)["id"].as_str().unwrap().to_owned()
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
    fn chat(&self, user: &str, flags: &[&str], typed: impl AsRef<[u8]>) -> Output {
        let typed = typed.as_ref();
        let mut chat = panda(&["chat", "--server", &self.url, "--user", user])
            .args(flags)
            .env("PANDA_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        chat.stdin.take().unwrap().write_all(typed).unwrap();
        chat.wait_with_output().unwrap()
    }
}

/// A front that passes HTTP on, and names an address for QUIC at which nobody answers.
struct Front {
    url: String,
}

impl Front {
    fn start(behind: &str, quic: &str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (behind, quic) = (behind.to_owned(), quic.to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &behind, &quic);
            }
        });
        Self { url }
    }
}

/// One request, answered by the server behind, and the connection closed.
fn answer(mut stream: std::net::TcpStream, behind: &str, quic: &str) {
    let mut request = BufReader::new(stream.try_clone().unwrap());
    let (mut head, mut length) = (Vec::new(), 0);
    for line in request.by_ref().lines() {
        let line = line.unwrap();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push(line);
    }
    let mut body = vec![0; length];
    request.read_exact(&mut body).unwrap();
    let path = head[0].split(' ').nth(1).unwrap();
    let answer = if head[0].starts_with("GET") {
        let found = ureq::get(format!("{behind}{path}")).call().unwrap().into_body().read_to_vec().unwrap();
        let mut document: Value = serde_json::from_slice(&found).unwrap();
        document["quic"] = json!(quic);
        document.to_string()
    } else {
        let body: Value = serde_json::from_slice(&body).unwrap();
        ureq::post(format!("{behind}{path}")).send_json(body).unwrap().into_body().read_to_string().unwrap()
    };
    let length = answer.len();
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}").unwrap();
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A `panda chat` that is typed to while it runs.
struct Typing {
    process: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Typing {
    fn start(server: &Served, user: &str, flags: &[&str]) -> Self {
        let mut process = panda(&["chat", "--server", &server.url, "--user", user])
            .args(flags)
            .env("PANDA_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stdout.take().unwrap());
        Self { process, said }
    }

    fn types(&mut self, text: &str) {
        self.process.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Waits for a line with this in it.
    fn sees(&mut self, text: &str) {
        let found = self.said.by_ref().lines().any(|line| line.unwrap().contains(text));
        assert!(found, "it ended before it said {text:?}");
    }

    /// Waits until what was typed is taken: it is so in its order.
    fn takes(&mut self) {
        self.types("/help\n");
        self.sees("begins with two slashes");
    }

    /// What becomes of it once nothing more is typed.
    fn ends(mut self) -> Output {
        drop(self.process.stdin.take());
        self.process.wait_with_output().unwrap()
    }
}

fn panda(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_panda"));
    command.args(arguments);
    command
}

fn signal(signal: &str, process: &Child) {
    assert!(Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap().success());
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_server_that_is_not_there_is_told_before_a_password_is_asked_for() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut chat = panda(&["chat", "--server", &format!("http://{nobody}"), "--user", "ada"]);
    let output = chat.env_remove("PANDA_PASSWORD").stdin(Stdio::null()).output().unwrap();
    let complaint = complaint(&output);
    assert!(complaint.contains(&format!("find a Panda: nobody answers at http://{nobody}")), "{complaint}");
}

#[test]
fn a_line_from_a_pipe_is_stored_in_the_chat_that_is_named_or_the_command_fails() {
    let data = tempfile::tempdir().unwrap();
    let server = Served::start(&data.path().join("data"));
    let (ada, _ben) = (server.register("ada"), server.register("ben"));
    let made = ["tea", "team"].map(|name| server.make(&ada, &json!({ "name": name, "members": ["@ben"] })));

    for flags in [&["--chat", "tea"][..], &["--chat", "tea", "--ws"]] {
        let output = server.chat("ada", flags, "hi\n");
        assert!(output.status.success(), "{output:?}");
    }
    let lost = server.chat("ada", &["--chat", "nothing"], "lost\n");
    assert!(complaint(&lost).contains("ended before line 1: nothing from there on was done"), "{lost:?}");
    assert!(!lost.status.success() && complaint(&lost).contains("there is no chat called nothing"), "{lost:?}");
    let either = server.chat("ada", &["--chat", "te"], "lost\n");
    assert!(!either.status.success() && complaint(&either).contains("there is no chat called te"), "{either:?}");
    // Whoever has chats may have one open already when the line comes.
    server.register("cyd");
    let nowhere = server.chat("cyd", &[], "lost\n");
    assert!(!nowhere.status.success() && complaint(&nowhere).contains("no chat is open"), "{nowhere:?}");
    assert_eq!(made.map(|chat| server.messages(&chat, &ada)), [vec!["hi", "hi"], vec![]]);
}

#[test]
fn a_script_is_not_led_into_a_chat_that_somebody_else_gave_the_same_name() {
    let data = tempfile::tempdir().unwrap();
    let server = Served::start(&data.path().join("data"));
    let (ada, eve) = (server.register("ada"), server.register("eve"));
    server.register("carl");
    let tea = server.make(&ada, &json!({ "name": "tea", "members": [] }));
    let direct = server.make(&ada, &json!({ "peer": "@carl" }));
    let traps =
        ["tea", "@carl", "/quit", "   "].map(|name| server.make(&eve, &json!({ "name": name, "members": ["@ada"] })));

    let either = server.chat("ada", &["--chat", "tea"], "secret\n");
    let told = complaint(&either);
    assert!(!either.status.success() && told.contains(&tea) && told.contains(&traps[0]), "{either:?}");
    for (chat, flags) in [(&tea, ["--chat", tea.as_str()]), (&direct, ["--chat", "@carl"])] {
        let output = server.chat("ada", &flags, "for friends\n");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(server.messages(chat, &ada), ["for friends"]);
    }
    for typed in ["2", "te", "TEA", "@car"] {
        let output = server.chat("ada", &["--chat", typed], "secret\n");
        assert!(!output.status.success() && complaint(&output).contains("there is no chat called"), "{output:?}");
    }
    for trap in &traps {
        assert!(server.messages(trap, &eve).is_empty());
    }
    let listed = String::from_utf8(server.chat("ada", &["--chat", &tea], "/chats\n").stdout).unwrap();
    for line in [
        format!("{direct} @carl"),
        format!("{} group \"@carl\"", traps[1]),
        format!("{} group \"/quit\"", traps[2]),
        format!("{} group \"   \"", traps[3]),
    ] {
        assert!(listed.contains(&line), "{line} in {listed}");
    }
}

#[test]
fn every_line_of_a_script_is_done_or_named() {
    let data = tempfile::tempdir().unwrap();
    let server = Served::start(&data.path().join("data"));
    let ada = server.register("ada");
    server.register("ben");
    let tea = server.make(&ada, &json!({ "name": "tea", "members": ["@ben"] }));
    let said = |typed: &[u8], named: &str| {
        let output = server.chat("ada", &["--chat", "tea"], typed);
        assert!(!output.status.success() && complaint(&output).contains(named), "{named}: {output:?}");
    };
    said(b"/var is full\n", "line 1: there is no /var");
    said(b"good\nbad \xff\xfe\nthird\n", "line 2: not sent: it is no UTF-8");
    said(b"/add @nosuchuser\n", "line 1: /add @nosuchuser failed");
    said(b"\n/remove @nosuchuser\n", "line 2: /remove @nosuchuser failed");
    said(b"/dm @ada\n", "line 1: /dm failed: a direct chat is with somebody else");
    assert_eq!(server.messages(&tea, &ada), ["good", "third"]);
}

#[test]
fn who_is_added_with_the_history_reads_what_was_said_before() {
    let data = tempfile::tempdir().unwrap();
    let server = Served::start(&data.path().join("data"));
    let ada = server.register("ada");
    let (ben, eve) = (server.register("ben"), server.register("eve"));
    let tea = server.make(&ada, &json!({ "name": "tea", "members": [] }));
    let output = server.chat("ada", &["--chat", "tea"], "before\n/add @ben +history\n/add @eve\nbehind\n");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(server.messages(&tea, &ben), ["before", "behind"]);
    assert_eq!(server.messages(&tea, &eve), ["behind"]);
}

#[test]
fn what_a_script_asks_is_answered_before_it_ends_and_its_input_waits_for_room() {
    let data = tempfile::tempdir().unwrap();
    let server = Served::start(&data.path().join("data"));
    let ada = server.register("ada");
    server.register("ben");
    server.make(&ada, &json!({ "name": "tea", "members": ["@ben"] }));
    let asked = server.chat("ada", &["--chat", "tea"], "milk or lemon?\n/history 5\n/who\n");
    let answers = String::from_utf8(asked.stdout.clone()).unwrap();
    assert!(asked.status.success() && answers.contains("  ben (member)"), "{asked:?}");
    // The others' events were there before, so nothing but the answer tells of them; the message may also be told live.
    let made = ["[tea] * ada made this chat", "[tea] * ada joined", "[tea] * ada added ben"];
    let history = [&made[..], &["[tea] ada: milk or lemon?"]].concat();
    let lines: Vec<&str> = answers.lines().collect();
    assert!(lines.windows(history.len()).any(|window| window == history), "{answers}");

    let many: String = (1..=1000).map(|number| format!("line {number}\n")).collect();
    let output = server.chat("ada", &["--chat", "tea"], many);
    assert!(output.status.success(), "{:?}", complaint(&output));
    let last = server.chat("ada", &["--chat", "tea"], "/history 1\n");
    assert!(String::from_utf8(last.stdout).unwrap().contains("ada: line 1000"));
}

#[test]
fn a_line_that_cannot_go_does_not_wait_for_ever() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Served::start(&data.path().join("data"));
    let ada = server.register("ada");
    server.make(&ada, &json!({ "name": "tea", "members": [] }));
    let mut chat = Typing::start(&server, "ada", &["--chat", "tea", "--ws", "--patience", "10"]);
    chat.sees("open: tea");
    server.process.kill().unwrap();
    server.process.wait().unwrap();
    // What is asked is answered from what the lines before did, and the first one is not stored.
    chat.types("a\n/who\nb\n");
    let output = chat.ends();
    let told = complaint(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("line 2 waited 10 s: ") && told.contains("line 1: not stored in time: a"), "{told}");
    assert!(told.contains("ended before line 2: nothing from there on was done"), "{told}");
}

#[test]
fn a_signal_is_the_status_whatever_is_not_stored_and_what_was_said_is_waited_for_though_nobody_reads() {
    let data = tempfile::tempdir().unwrap();
    let server = Served::start(&data.path().join("data"));
    let ada = server.register("ada");
    let tea = server.make(&ada, &json!({ "name": "tea", "members": [] }));
    let says = |text: &str| {
        let mut chat = Typing::start(&server, "ada", &["--chat", "tea", "--ws"]);
        chat.sees("open: tea");
        signal("-STOP", &server.process);
        chat.types(text);
        chat.takes();
        chat
    };
    let mut unread = says("stored\n");
    // Its input does not end.
    let typed = unread.process.stdin.take();
    drop(unread.process.stderr.take());
    signal("-TERM", &unread.process);
    signal("-CONT", &server.process);
    assert_eq!(unread.ends().status.code(), Some(143));
    drop(typed);
    assert_eq!(server.messages(&tea, &ada), ["stored"]);

    let unstored = says("lost\n");
    signal("-TERM", &unstored.process);
    let output = unstored.process.wait_with_output().unwrap();
    let told = complaint(&output);
    assert!(told.contains("line 1: not stored in time: lost") && output.status.code() == Some(143), "{output:?}");
}

#[test]
fn a_script_that_nobody_answers_ends_and_says_so() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = Served::start(&data.path().join("data"));
    server.register("ada");
    let quic = silent.local_addr().unwrap();
    let front = Front::start(&server.url, &quic.to_string());
    let mut chat = panda(&["chat", "--server", &front.url, "--user", "ada", "--quic", "--patience", "1"])
        .env("PANDA_PASSWORD", PASSWORD)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    chat.stdin.take().unwrap().write_all(b"hi\n").unwrap();
    let output = chat.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = complaint(&output);
    assert!(told.contains("not connected within 1 s"), "{told}");
    assert!(told.contains("ended before line 1: nothing from there on was done"), "{told}");
}
