//! `tests/golden/rules-1.txt`: records in hex, each with the events that rules version 1 makes of it.
//! A change of any line is a new rules version.

use std::fmt::Write as _;

use bytes::Bytes;
use panda_protocol::event::Role;
use panda_protocol::frame::CommandBody;
use panda_protocol::link::Record;
use panda_protocol::{ChatId, Seq};

use super::log::{Log, add, command, group, remove, say, user};

const GOLDEN: &str = include_str!("../golden/rules-1.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes it");
        out
    })
}

fn bytes(hex: &str) -> Bytes {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

/// One line a record and one behind it for each of its events.
fn fold(records: impl Iterator<Item = Record>) -> String {
    let mut log = Log::default();
    let mut out = String::new();
    for record in records {
        writeln!(out, "record {}", hex(&record.to_bytes())).expect("a string takes it");
        for event in log.record(&record).unwrap_or_default() {
            writeln!(out, "event {}", hex(&event.to_bytes())).expect("a string takes it");
            for effect in panda_router::fold::effects(record.entity().expect("one"), &event, &event.to_bytes()) {
                let record = Record::Effect(effect);
                writeln!(out, "effect {}", hex(&record.to_bytes())).expect("a string takes it");
                for event in log.record(&record).expect("never refused") {
                    writeln!(out, "event {}", hex(&event.to_bytes())).expect("a string takes it");
                }
            }
        }
    }
    out
}

fn every_command() -> Vec<Record> {
    let direct = ChatId::direct(user(1), user(2)).into();
    let chat = group().chat().expect("a chat");
    let history = CommandBody::AddMembers { role: Role::Admin, with_history: true, members: vec![user(5)] };
    vec![
        command(1, group(), 1, 0, &CommandBody::CreateGroup { name: "tea".into(), members: vec![user(2), user(3)] }),
        command(1, direct, 1, 0, &CommandBody::CreateDirect { peer: user(2) }),
        command(2, group(), 1, 0, &say("grüß dich")),
        command(2, group(), 1, 0, &say("grüß dich")),
        command(1, group(), 2, 1, &add(Role::Reader, &[4, 2])),
        command(1, group(), 3, 2, &history),
        command(1, group(), 4, 3, &CommandBody::SetRole { member: user(2), role: Role::Admin }),
        command(2, group(), 2, 1, &CommandBody::Rename { name: "milk".into() }),
        command(2, group(), 3, 2, &remove(&[3, 4])),
        command(3, group(), 1, 0, &say("refused")),
        command(2, user(2).into(), 1, 0, &CommandBody::MarkRead { chat, read: Seq(4) }),
        command(2, user(2).into(), 2, 1, &CommandBody::SetSetting { key: "theme".into(), value: "dark".into() }),
        command(2, user(2).into(), 3, 2, &CommandBody::SetSetting { key: "theme".into(), value: "".into() }),
    ]
}

#[test]
fn the_recorded_log_makes_the_recorded_events() {
    let records = GOLDEN.lines().filter_map(|line| line.strip_prefix("record "));
    let records = records.map(|record| Record::from_bytes(bytes(record)).expect("a record"));
    assert_eq!(fold(records), GOLDEN);
}

#[test]
fn the_recorded_log_holds_every_command() {
    let made = fold(every_command().into_iter());
    if let Some(path) = std::env::var_os("PANDA_GOLDEN_WRITE") {
        std::fs::write(path, &made).expect("the path is writable");
    }
    assert_eq!(made, GOLDEN);
}
