//! Every workload against our own floors, and against servers that lose and double: what a row says must be so.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::Result;
use clap::Parser as _;
use panda_peerbench::cli::Cli;
use panda_peerbench::floor::{self, ACKNOWLEDGED, Asked, SUBSCRIBED};
use panda_peerbench::workload;
use serde_json::Value;
use socket2::{Domain, Socket, Type};

const EPOLL: &str = env!("CARGO_BIN_EXE_floor_epoll");
const TOKIO: &str = env!("CARGO_BIN_EXE_floor_tokio");

struct Floor {
    process: Child,
    address: String,
}

impl Floor {
    fn start(program: &str, mode: &str) -> Self {
        let mut process = Command::new(program).args(["0", mode]).stdout(Stdio::piped()).spawn().expect("a floor");
        let mut address = String::new();
        let said = process.stdout.take().expect("its output is a pipe");
        BufReader::new(said).read_line(&mut address).expect("where it listens");
        Self { process, address: address.trim().to_owned() }
    }

    fn measure(&self, workload: &[&str]) -> Value {
        measure(&self.address, self.process.id(), workload).expect("a row")
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.process.kill().expect("it runs until it is killed");
        self.process.wait().expect("it was killed");
    }
}

/// The row of a short run.
fn measure(address: &str, pid: u32, workload: &[&str]) -> Result<Value> {
    let pid = pid.to_string();
    let common =
        ["--adapter", "simple", "--addr", address, "--pids", &pid, "--warm", "0", "--secs", "1", "--settle", "0"];
    let arguments = ["peerbench"].iter().chain(workload).chain(&common);
    let cli = Cli::try_parse_from(arguments)?;
    Ok(serde_json::from_str(&workload::run(&cli.workload)?.expect("a row").to_json())?)
}

fn figure(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("no {name} in {row}"))
}

#[test]
fn every_workload_of_a_floor_gives_its_figures_and_loses_nothing() {
    let floor = Floor::start(EPOLL, "plain");
    let idle = floor.measure(&["idle", "--n1", "20", "--n2", "30"]);
    assert!(figure(&idle, "open_per_s") > 0.0 && figure(&idle, "rss_kib_per_conn_n2").is_finite(), "{idle}");
    let scheduled = floor.measure(&["fanout", "--channels", "5", "--subs", "4", "--rate", "2000", "--ack"]);
    for none in ["lost", "doubled", "unacked"] {
        assert_eq!(figure(&scheduled, none), 0.0, "{scheduled}");
    }
    assert!(figure(&scheduled, "max_us") >= figure(&scheduled, "p50_us"), "{scheduled}");
    for workload in [&["ack", "--conns", "10"][..], &["ack", "--conns", "10", "--rate", "500"]] {
        let row = floor.measure(workload);
        assert!(figure(&row, "acks_per_s") > 0.0 && figure(&row, "unacked") == 0.0, "{row}");
    }
    let churn = floor.measure(&["churn", "--par", "4", "--first", "10"]);
    assert!(figure(&churn, "handshakes_per_s") > 0.0 && figure(&churn, "failed") == 0.0, "{churn}");
}

#[test]
fn a_saturated_floor_of_each_kind_delivers_everything_once() {
    for (program, mode) in [(EPOLL, "plain"), (EPOLL, "coalesce"), (TOKIO, "direct"), (TOKIO, "queue")] {
        let floor = Floor::start(program, mode);
        let row = floor.measure(&["fanout", "--channels", "3", "--subs", "5", "--window", "4"]);
        assert!(figure(&row, "deliveries_per_s") > 0.0, "{mode}: {row}");
        for none in ["lost", "doubled", "stalls"] {
            assert_eq!(figure(&row, none), 0.0, "{mode}: {row}");
        }
    }
}

/// How often a server delivers its publications, in turn.
type Copies = &'static [usize];

/// A server that breaks its promise; returns where it listens.
fn broken_server(copies: Copies) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("a port");
    let subscribers = Arc::new(Mutex::new(Vec::new()));
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let subscribers = Arc::clone(&subscribers);
            // It ends with the connection.
            std::thread::spawn(move || drop(serve(stream, &subscribers, copies)));
        }
    });
    address
}

fn serve(mut stream: TcpStream, subscribers: &Mutex<Vec<TcpStream>>, copies: Copies) -> Result<()> {
    let (mut bytes, mut buffer, mut upgraded, mut published) = (Vec::new(), [0; 4096], false, 0);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&buffer[..count]);
        if !upgraded && let Some((answer, used)) = floor::upgrade(&bytes) {
            stream.write_all(answer.as_bytes())?;
            bytes.drain(..used);
            upgraded = true;
        }
        while upgraded && let Some((asked, used)) = floor::next(&mut bytes)? {
            bytes.drain(..used);
            match asked {
                Asked::Nothing => {}
                Asked::Close => return Ok(()),
                Asked::Subscribe(channel) => {
                    if channel.is_some() {
                        subscribers.lock().expect("no thread panics with it").push(stream.try_clone()?);
                    }
                    stream.write_all(SUBSCRIBED)?;
                }
                Asked::Publish { ack, frame, .. } => {
                    if ack {
                        stream.write_all(ACKNOWLEDGED)?;
                    }
                    for mut subscriber in subscribers.lock().expect("no thread panics with it").iter() {
                        for _ in 0..copies[published % copies.len()] {
                            subscriber.write_all(&frame)?;
                        }
                    }
                    published += 1;
                }
            }
        }
    }
}

#[test]
fn what_a_server_loses_or_doubles_is_in_the_row() {
    for (copies, is_lost, is_doubled) in [(&[1, 1][..], 0.0, 0.0), (&[1, 0], 1.0, 0.0), (&[1, 2], 0.0, 1.0)] {
        let address = broken_server(copies).to_string();
        let fan_out = ["fanout", "--channels", "1", "--subs", "1", "--rate", "100", "--ack"];
        let row = measure(&address, std::process::id(), &fan_out).unwrap();
        // Every second one, beginning with the second.
        let concerned = (figure(&row, "published") / 2.0).floor();
        assert!(concerned > 0.0, "{row}");
        let counted = (figure(&row, "lost"), figure(&row, "doubled"));
        assert_eq!(counted, (concerned * is_lost, concerned * is_doubled), "{copies:?}: {row}");
        assert_eq!(figure(&row, "unacked"), 0.0, "{row}");
    }
}

#[test]
fn a_server_that_is_not_there_or_ended_gives_no_row() {
    let own = std::process::id();
    // Held, and not listened at.
    let nobody = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    nobody.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = nobody.local_addr().unwrap().as_socket().unwrap().to_string();
    let error = measure(&address, own, &["ack", "--conns", "1"]).unwrap_err();
    assert!(format!("{error:#}").contains("connect"), "{error:#}");
    let floor = Floor::start(EPOLL, "plain");
    assert!(measure(&floor.address, u32::MAX, &["ack", "--conns", "1"]).is_err(), "no such process");
}
