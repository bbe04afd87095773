//! What `ARCHITECTURE.md` names is there: a test or command for each invariant, and a reason for each dependency that is
//! used. And what `deny.toml` keeps out is out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

const INVARIANTS: usize = 8;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("a crate in ops").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text of a section, without its heading.
fn section(heading: &str) -> String {
    let all = read("ARCHITECTURE.md");
    let (_, behind) = all.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    behind.split("\n## ").next().unwrap_or_default().to_owned()
}

fn has_test(path: &str, test: &str) -> bool {
    read(path).contains(&format!("fn {test}("))
}

#[test]
fn every_invariant_names_tests_and_commands_that_are_there() {
    let invariants = section("Invariants");
    let (_, listed) = invariants.split_once("\n1. ").expect("a list");
    let (listed, _) = listed.split_once("\n\n").expect("something behind it");
    let items = items(listed);
    assert_eq!(items.len(), INVARIANTS);
    for (number, item) in (1..).zip(items) {
        let mut named = 0;
        // In turn: text, code, text, code.
        let parts: Vec<&str> = item.split('`').collect();
        for at in (1..parts.len()).step_by(2) {
            let (code, behind) = (parts[at], parts.get(at + 1).map_or("", |text| *text));
            if behind == " (" || behind == "\n   (" {
                let path = parts[at + 2];
                assert!(has_test(path, code), "invariant {number}: {path} has no test {code}");
                named += 1;
            } else if code.contains('/') {
                let path = code.split(' ').next().unwrap_or_default();
                assert!(root().join(path).exists(), "invariant {number}: there is no {path}");
                named += 1;
            }
        }
        assert!(named >= 2, "invariant {number} names what tries to break it: {item}");
    }
}

/// The numbered items of a list, from behind the number of the first one.
fn items(list: &str) -> Vec<String> {
    let mut items = vec![String::new()];
    for line in list.lines() {
        let next = format!("{}. ", items.len() + 1);
        match line.strip_prefix(&next) {
            Some(first) => items.push(first.to_owned()),
            None => items.last_mut().expect("one at least").push_str(&format!("\n{line}")),
        }
    }
    items
}

fn table(path: &str) -> Table {
    read(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Crates of third parties in the dependencies of a manifest, for every target and for tests.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(|targets| targets.values());
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    let named = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    named.flat_map(Table::keys).filter(|name| !name.starts_with("panda-")).cloned().collect()
}

#[test]
fn every_dependency_is_used_by_a_crate_and_has_a_reason() {
    let workspace = table("Cargo.toml");
    let workspace = workspace["workspace"].as_table().expect("a workspace");
    let pinned: BTreeSet<String> = dependencies(workspace);
    let members = workspace["members"].as_array().expect("members").iter().filter_map(Value::as_str);
    let used: BTreeSet<String> =
        members.flat_map(|member| dependencies(&table(&format!("{member}/Cargo.toml")))).collect();
    assert_eq!(pinned, used, "what the workspace pins is what its crates use");
    let fuzzing = dependencies(&table("protocol/fuzz/Cargo.toml"));
    let rows = section("Dependencies");
    let rows = rows.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|row| row.split(" | ").next());
    let reasons: BTreeSet<String> = rows
        .filter(|names| *names != "crate" && !names.contains("(Python"))
        .flat_map(|names| names.split(", "))
        .map(str::to_owned)
        .collect();
    assert_eq!(reasons, &pinned | &fuzzing);
}

/// The page's packages, which no cargo knows. Its own client is none of somebody else.
#[test]
fn every_package_of_the_page_has_a_reason() {
    let package: serde_json::Value = serde_json::from_str(&read("edge/web/package.json")).expect("JSON");
    let kinds = ["dependencies", "devDependencies"];
    let used: BTreeSet<String> = kinds
        .iter()
        .flat_map(|kind| package[kind].as_object().expect("packages").keys().cloned())
        .filter(|name| !name.starts_with("@panda/"))
        .collect();
    let packages = section("Packages of the browser client");
    let (_, of_the_page) = packages.split_once("`edge/web`").expect("the page's own table");
    let rows = of_the_page.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|row| row.split(" | ").next());
    let reasons: BTreeSet<String> =
        rows.filter(|names| *names != "package").flat_map(|names| names.split(", ").map(str::to_owned)).collect();
    assert_eq!(reasons, used);
}

fn texts(list: Option<&Value>) -> BTreeSet<String> {
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `cargo deny` looks for more, and is not on every machine.
#[test]
fn only_storage_names_a_driver_and_what_is_banned_is_not_there() {
    let (deny, lock) = (table("deny.toml"), table("Cargo.lock"));
    let packages = lock["package"].as_array().expect("packages");
    let bans = deny["bans"]["deny"].as_array().expect("bans");
    assert!(bans.len() >= 10, "{} bans", bans.len());
    for ban in bans {
        let name = ban["name"].as_str().expect("a name");
        let allowed: BTreeSet<String> = texts(ban.get("wrappers"));
        let is_named = |package: &&Value| {
            // Of a package that is there in several versions the version follows.
            texts(package.get("dependencies")).iter().any(|named| named.split(' ').next() == Some(name))
        };
        let users = packages.iter().filter(is_named).filter_map(|package| package["name"].as_str()).map(str::to_owned);
        let users: BTreeSet<String> = users.collect();
        assert!(users.is_subset(&allowed), "{name} is used by {users:?}, and allowed to {allowed:?}");
        let is_there = packages.iter().any(|package| package["name"].as_str() == Some(name));
        assert_eq!(is_there, !allowed.is_empty(), "{name}");
    }
}
