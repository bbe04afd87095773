//! `SPEC.md`, `EVENTS.md` and `LINK.md` say what the code does: tables and worked examples are compared.

use std::collections::BTreeMap;
use std::path::PathBuf;

use panda_protocol::error_code::Recovery;
use panda_protocol::frame::FRAME_TYPES;
use panda_protocol::link::{
    ALIVE_EVERY_MS, LINK_FRAME_BYTES_MAX, LINK_FRAME_TYPES, OPENING_TIMEOUT_MS, SILENCE_MAX_MS,
};
use panda_protocol::{ErrorCode, limits};
use serde_json::Value;

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The text from a heading to the next one of its level or above.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let from = text.find(&format!("\n{heading}")).unwrap_or_else(|| panic!("no section {heading}")) + 1;
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    let rest = &text[from + heading.len()..];
    let end = (1..=level).filter_map(|level| rest.find(&format!("\n{} ", "#".repeat(level)))).min();
    end.map_or(rest, |end| &rest[..end])
}

/// The cells of every row whose first cell `wanted` takes.
fn rows(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<Vec<&str>> {
    text.lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>())
        .filter(|cells| wanted(cells[0]))
        .collect()
}

fn is_number(cell: &str) -> bool {
    cell.parse::<u16>().is_ok()
}

fn is_code(cell: &str) -> bool {
    cell.strip_prefix("0x").is_some_and(|hex| hex.len() == 2 && u8::from_str_radix(hex, 16).is_ok())
}

#[test]
fn every_error_code_is_in_the_table() {
    let spec = file("SPEC.md");
    let table = rows(section(&spec, "## 11. Errors"), is_number);
    let told: Vec<_> = table.iter().map(|row| (row[0].to_owned(), row[1].to_owned())).collect();
    let known: Vec<_> =
        ErrorCode::ALL.iter().map(|code| ((*code as u16).to_string(), format!("`{}`", code.label()))).collect();
    assert_eq!(told, known);
    assert!(ErrorCode::ALL.is_sorted_by_key(|code| *code as u16), "the codes rise");
    for row in table {
        assert!(row.len() == 4 && row[2].len() > 10 && row[3].len() > 10, "{} is not explained", row[1]);
    }
    for name in spec.split('`').filter(|word| word.starts_with("too_many_") || word.ends_with("_timeout")) {
        assert!(ErrorCode::ALL.iter().any(|code| code.label() == name), "{name} is no code");
    }
}

#[test]
fn every_code_is_in_a_range_that_says_what_a_client_does() {
    let spec = file("SPEC.md");
    let ranges: Vec<(u16, u16)> = rows(section(&spec, "## 11. Errors"), |cell| cell.contains('-'))
        .iter()
        .filter_map(|row| row[0].split_once('-'))
        .filter_map(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)))
        .collect();
    for code in ErrorCode::ALL {
        let number = *code as u16;
        let (from, to) = ranges
            .iter()
            .find(|(from, to)| (*from..=*to).contains(&number))
            .unwrap_or_else(|| panic!("{code} is in no range"));
        assert_eq!(Recovery::of(*from), Recovery::of(number));
        assert_eq!(Recovery::of(*to), Recovery::of(number));
    }
    assert_eq!(ranges.len(), 8);
}

macro_rules! known_limits {
    ($($name:ident)+) => {
        [$((stringify!($name), u128::try_from(limits::$name).expect("a limit is not negative")),)+]
    };
}

#[test]
fn every_limit_is_in_the_table_with_its_value() {
    let known = known_limits!(
        FRAME_BYTES_MAX HELLO_BYTES_MAX TOKEN_BYTES_MAX TICKET_BYTES_MAX PROOF_BYTES_MAX CLIENT_NAME_BYTES_MAX
        TEXT_BYTES_MAX CHAT_NAME_BYTES_MAX SIGNAL_BYTES_MAX SETTING_KEY_BYTES_MAX SETTING_VALUE_BYTES_MAX
        SETTINGS_MAX ERROR_TEXT_BYTES_MAX ADDRESS_BYTES_MAX COMMAND_MEMBERS_MAX COMMAND_EVENTS_MAX WRITE_BYTES_MAX
        EVENT_BYTES_MAX SYNC_CHATS_MAX SUBSCRIPTIONS_MAX USER_CHATS_MAX CHAT_MEMBERS_MAX REQUESTS_IN_FLIGHT_MAX
        UNANSWERED_COMMANDS_MAX WINDOW_COMMANDS PAGE_EVENTS_MAX PAGE_ROWS_MAX PAGE_CHUNK_BYTES_MAX VARINT_MAX
    );
    let source = file("src/limits.rs");
    let declared: Vec<&str> =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    assert_eq!(declared, known.map(|(name, _)| name), "this test knows every limit of limits.rs");
    let spec = file("SPEC.md");
    let told: BTreeMap<String, u128> = rows(section(&spec, "## 12. Limits"), |cell| cell.starts_with('`'))
        .iter()
        .map(|row| (row[0].trim_matches('`').to_uppercase(), row[1].replace(',', "").parse().unwrap()))
        .collect();
    assert_eq!(told, known.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect());
}

#[test]
fn every_frame_type_is_in_the_table() {
    let spec = file("SPEC.md");
    let told: BTreeMap<String, String> = rows(section(&spec, "## 3. Frames"), is_code)
        .iter()
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let known = FRAME_TYPES.iter().map(|(kind, name)| (format!("0x{kind:02x}"), (*name).to_owned())).collect();
    assert_eq!(told, known);
    let words = spec.replace("**", "").split_whitespace().collect::<Vec<_>>().join(" ");
    for (kind, name) in told {
        assert!(words.contains(&format!(" {name} `{kind}`")), "{name} has no description of its fields");
    }
}

fn vectors(name: &str) -> Vec<Value> {
    serde_json::from_str(&file(&format!("vectors/{name}"))).expect("a list of vectors")
}

/// The kinds of a table, and those of the vectors, which cover every variant of the code.
fn kinds(rows: &[Vec<&str>]) -> Vec<u64> {
    rows.iter().map(|row| u64::from_str_radix(&row[0][2..], 16).expect("is_code took it")).collect()
}

#[test]
fn every_command_kind_is_in_the_table() {
    let spec = file("SPEC.md");
    let told = kinds(&rows(section(&spec, "## 8. Changing something"), is_code));
    let mut known: Vec<u64> = vectors("commands.json").iter().map(|vector| vector["kind"].as_u64().unwrap()).collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(told, known);
}

#[test]
fn every_event_kind_is_in_the_table() {
    let events = file("EVENTS.md");
    let told = kinds(&rows(&events, is_code));
    let mut known: Vec<u64> = vectors("events.json")
        .iter()
        .filter(|vector| vector["fields"]["body"].get("unknown").is_none())
        .map(|vector| vector["fields"]["kind"].as_u64().unwrap())
        .collect();
    known.sort_unstable();
    known.dedup();
    assert_eq!(told, known);
}

/// The first cells of an example's table, put together, are the vector.
fn assert_example(text: &str, heading: &str, name: &str, file: &str) {
    let bytes: String = rows(section(text, heading), |cell| cell.starts_with('`'))
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let vectors = vectors(file);
    let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap_or_else(|| panic!("no vector {name}"));
    assert_eq!(bytes, vector["hex"].as_str().expect("a vector has bytes"), "the example '{name}'");
}

#[test]
fn worked_examples_are_the_vectors() {
    let spec = file("SPEC.md");
    let headings: Vec<&str> = section(&spec, "## 14. Examples")
        .lines()
        .filter(|line| line.starts_with("### ") && !line.contains("files"))
        .collect();
    assert_eq!(headings.len(), 8);
    for heading in headings {
        assert_example(&spec, heading, heading.split('`').nth(1).unwrap(), "frames.json");
    }
    let link = file("LINK.md");
    assert_example(&link, "### Example: `command`", "command", "records.json");
}

#[test]
fn every_frame_of_a_link_is_described() {
    let link = file("LINK.md");
    let up = ["Admit", "Forget", "Read", "Signal", "Attach", "Detach", "Ask", "Resume"];
    let down = [
        "Admitted",
        "Events",
        "Head",
        "Answer",
        "Read",
        "Signal",
        "Replaced",
        "Watermark",
        "Backlog",
        "Owner",
        "Readmit",
    ];
    for (heading, names) in [("## Up", &up[..]), ("## Down", &down[..])] {
        let table = rows(section(&link, heading), |cell| cell.starts_with('`'));
        let told: Vec<&str> = table.iter().map(|row| row[0].trim_matches('`')).collect();
        assert_eq!(told, names);
    }
    let source = file("src/link/frame.rs");
    let variants = |name: &str| {
        section(&source, &format!("pub enum {name} "))
            .lines()
            .take_while(|line| *line != "}")
            .filter(|line| line.starts_with("    ") && line[4..].starts_with(char::is_uppercase))
            .map(|line| line.trim().trim_end_matches([',', ' ', '{']).split('(').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(variants("Up"), up);
    assert_eq!(variants("Down"), down);
}

#[test]
fn every_type_of_a_links_frames_is_in_the_table() {
    let link = file("LINK.md");
    let told: Vec<(String, String)> = rows(section(&link, "## Connections"), is_code)
        .iter()
        .map(|row| (row[0].to_owned(), row[1].to_owned()))
        .collect();
    let openings = [(0x01, "Challenge"), (0x02, "Open"), (0x03, "Opened"), (0x04, "Refused"), (0x05, "Alive")];
    let known: Vec<(String, String)> = openings
        .iter()
        .chain(LINK_FRAME_TYPES)
        .map(|(kind, name)| (format!("0x{kind:02x}"), (*name).to_owned()))
        .collect();
    assert_eq!(told, known);
    assert!(link.contains("327,680 bytes") && LINK_FRAME_BYTES_MAX == 327_680);
    assert!(link.contains("after 5 s") && OPENING_TIMEOUT_MS == 5_000);
    assert!(link.contains("for 1 s sends Alive") && ALIVE_EVERY_MS == 1_000);
    assert!(link.contains("nothing for 3 s") && SILENCE_MAX_MS == 3_000);
}
