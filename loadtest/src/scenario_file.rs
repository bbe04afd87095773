//! Scenarios as files: which one, its values by the names of its flags, and thresholds that its figures must keep.
//!
//! A file is turned into the command line that it stands for, so that a value is checked by who checks the flag; flags behind
//! the file's name take the place of its values.

use std::path::Path;

use clap::{Args, CommandFactory as _};
use serde::Deserialize;
use toml::Value;

use crate::cli::Cli;
use crate::run::RunError;
use crate::thresholds::Threshold;

/// The longest file.
const FILE_BYTES_MAX: usize = 256 * 1024;
/// Those that are built in, with their files.
const BUILT_IN: [(&str, &str); 11] = [
    ("idle", include_str!("../scenarios/idle.toml")),
    ("steady", include_str!("../scenarios/steady.toml")),
    ("fanout", include_str!("../scenarios/fanout.toml")),
    ("churn", include_str!("../scenarios/churn.toml")),
    ("storm", include_str!("../scenarios/storm.toml")),
    ("slow", include_str!("../scenarios/slow.toml")),
    ("logins", include_str!("../scenarios/logins.toml")),
    ("history", include_str!("../scenarios/history.toml")),
    ("replay", include_str!("../scenarios/replay.toml")),
    ("chaos", include_str!("../scenarios/chaos.toml")),
    ("soak", include_str!("../scenarios/soak.toml")),
];

/// Runs a scenario from a file, or one that is built in.
#[derive(Clone, Debug, Args)]
pub struct RunFile {
    /// A TOML file, or a name that `scenarios` lists, and behind it flags of the scenario, which take the place of the
    /// file's values.
    // As one list: by themselves, flags that every command has would be taken for those of `run`, and do nothing.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, num_args = 1.., value_names = ["FILE", "FLAG"])]
    pub words: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    scenario: String,
    /// In a sentence.
    purpose: String,
    #[serde(default)]
    load: toml::Table,
    #[serde(default)]
    thresholds: toml::Table,
}

/// A scenario that was read.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    name: String,
    text: String,
    /// What it is for.
    pub purpose: String,
    scenario: String,
    /// Flags with their values, in the order of the file.
    values: Vec<(String, Vec<String>)>,
    /// What its figures must keep.
    pub thresholds: Vec<Threshold>,
}

/// A line for each scenario that is built in.
///
/// # Errors
/// One cannot be read, which a test rules out.
pub fn list() -> Result<String, RunError> {
    let mut lines = String::new();
    for (name, text) in BUILT_IN {
        let purpose = ScenarioFile::parse(name, text)?.purpose;
        lines.push_str(&format!("{name:<8} {purpose}\n"));
    }
    Ok(lines)
}

impl ScenarioFile {
    /// Reads a file, or takes the one that is built in under this name.
    ///
    /// # Errors
    /// [`RunError::Usage`] with file, line and what to do.
    pub fn open(name: &str) -> Result<Self, RunError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text);
        }
        let text = std::fs::read_to_string(Path::new(name)).map_err(|error| {
            let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            RunError::Usage(format!("scenario {name} cannot be read: {error}; built in are {}", known.join(", ")))
        })?;
        if text.len() > FILE_BYTES_MAX {
            return Err(RunError::Usage(format!("{name} has more than {FILE_BYTES_MAX} bytes and is no scenario")));
        }
        Self::parse(name, &text)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn parse(name: &str, text: &str) -> Result<Self, RunError> {
        // The library's sentence shows the line.
        let file: File = toml::from_str(text).map_err(|error| RunError::Usage(format!("{name}: {error}")))?;
        let cli = Cli::command();
        let Some(command) = cli.find_subcommand(&file.scenario).filter(|_| is_load(&file.scenario)) else {
            let known: Vec<&str> =
                cli.get_subcommands().map(clap::Command::get_name).filter(|name| is_load(name)).collect();
            let why = format!("there is no scenario '{}'; take one of {}", file.scenario, known.join(", "));
            return Err(refused(name, text, "", "scenario", &why));
        };
        let arguments = || command.get_arguments().chain(cli.get_arguments()).filter(|known| known.get_id() != "help");
        let mut values = Vec::new();
        for (key, value) in &file.load {
            let flag = key.replace('_', "-");
            let argument = arguments().find(|known| {
                known.get_long() == Some(&flag) || known.is_positional() && known.get_id() == key.as_str()
            });
            let Some(argument) = argument else {
                let known: Vec<String> = arguments()
                    .map(|known| known.get_long().map_or_else(|| known.get_id().to_string(), ToOwned::to_owned))
                    .collect();
                let why = format!("{} has no '{key}'; it has {}", file.scenario, known.join(", "));
                return Err(refused(name, text, "load", key, &why));
            };
            let takes_value = argument.get_action().takes_values();
            let given = words(value, takes_value).map_err(|why| refused(name, text, "load", key, &why))?;
            let prefix = (!argument.is_positional()).then(|| format!("--{flag}"));
            let given = given.into_iter().flat_map(|word| prefix.clone().into_iter().chain(word));
            values.push((flag, given.collect()));
        }
        let threshold = |(figure, value): (&String, &Value)| {
            Threshold::parse(figure, value).map_err(|why| refused(name, text, "thresholds", figure, &why))
        };
        let thresholds = file.thresholds.iter().map(threshold).collect::<Result<_, _>>()?;
        let (name, text, File { scenario, purpose, .. }) = (name.to_owned(), text.to_owned(), file);
        Ok(Self { name, text, purpose, scenario, values, thresholds })
    }

    /// The text, as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The command line that it stands for, with these flags in the place of its own.
    pub fn command_line(&self, flags: &[String]) -> Vec<String> {
        let is_given = |flag: &str| {
            let long = format!("--{flag}");
            flags.iter().any(|given| *given == long || given.starts_with(&format!("{long}=")))
        };
        let kept = self.values.iter().filter(|(flag, _)| !is_given(flag)).flat_map(|(_, words)| words.clone());
        let begin = ["panda-loadtest".to_owned(), self.scenario.clone()];
        begin.into_iter().chain(kept).chain(flags.iter().cloned()).collect()
    }

    /// What the command line says of it, with the line of the value that it is about.
    pub fn explain(&self, said: &str) -> String {
        let about = self.values.iter().find(|(flag, _)| said.contains(&format!("--{flag}")));
        let line = about.and_then(|(flag, _)| line_of(&self.text, "load", flag));
        line.map_or_else(|| format!("{}: {said}", self.name), |line| format!("{} line {line}: {said}", self.name))
    }
}

/// Whether a command puts load on a target.
fn is_load(name: &str) -> bool {
    ["idle", "steady", "storm", "slow", "logins", "history", "replay", "chaos", "reads", "members", "revisit"]
        .contains(&name)
}

/// The words of a value: none of a switch that is off; each of a list with its flag.
fn words(value: &Value, takes_value: bool) -> Result<Vec<Option<String>>, String> {
    match value {
        Value::Boolean(on) if !takes_value => Ok(if *on { vec![None] } else { Vec::new() }),
        _ if !takes_value => Err("this is true or false".into()),
        Value::String(text) => Ok(vec![Some(text.clone())]),
        Value::Integer(number) => Ok(vec![Some(number.to_string())]),
        Value::Float(number) => Ok(vec![Some(number.to_string())]),
        Value::Array(some) => {
            let each = some.iter().map(|value| words(value, true)).collect::<Result<Vec<_>, _>>()?;
            Ok(each.into_iter().flatten().collect())
        }
        Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => Err("this is a number, a text or a list".into()),
    }
}

fn refused(name: &str, text: &str, section: &str, key: &str, why: &str) -> RunError {
    let at = line_of(text, section, key).map_or_else(String::new, |line| format!(" line {line}"));
    RunError::Usage(format!("{name}{at}: {why}"))
}

/// The line of a key, from 1 on.
fn line_of(text: &str, section: &str, key: &str) -> Option<usize> {
    let mut current = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.trim().clone_into(&mut current);
        }
        let named = line.split_once('=').map(|(named, _)| named.trim().trim_matches(['"', '\'']).replace('_', "-"));
        if current == section && named.is_some_and(|named| named == key.replace('_', "-")) {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn every_built_in_scenario_is_a_command_line_and_says_what_it_is_for() {
        for (name, text) in BUILT_IN {
            let file = ScenarioFile::parse(name, text).unwrap();
            let line = file.command_line(&[]);
            assert!(Cli::try_parse_from(&line).is_ok(), "{line:?}");
            assert!(file.purpose.ends_with('.') && file.purpose.len() < 120, "{name}: {}", file.purpose);
            assert!(list().unwrap().contains(&file.purpose));
        }
    }

    #[test]
    fn flags_take_the_place_of_values() {
        let file = ScenarioFile::open("steady").unwrap();
        let flags = ["--sessions=7", "--rate", "3", "--seed", "1"].map(str::to_owned);
        let Cli { scenario, common } = Cli::try_parse_from(file.command_line(&flags)).unwrap();
        let crate::cli::Scenario::Steady(asked) = scenario else { panic!("another scenario") };
        assert_eq!((asked.sessions, asked.chats, asked.rate, common.seed), (7, 100, 3, Some(1)));
    }

    #[test]
    fn what_is_wrong_is_told_with_file_line_and_what_to_do() {
        let said = |text: &str| ScenarioFile::parse("my.toml", text).unwrap_err().to_string();
        let head = "scenario = \"steady\"\npurpose = \"For a test.\"\n[load]\n";
        let unknown = said(&format!("{head}sessions = 3\ncats = 9\n"));
        assert!(unknown.contains("my.toml line 5: steady has no 'cats'; it has sessions, chats"), "{unknown}");
        let scenario = said("purpose = \"x\"\nscenario = \"agent\"\n");
        assert!(scenario.contains("my.toml line 2: there is no scenario 'agent'; take one of"), "{scenario}");
        let kind = said(&format!("{head}sessions = 2020-01-01\n"));
        assert!(kind.contains("line 4: this is a number, a text or a list"), "{kind}");
        let threshold = said(&format!("{head}[thresholds]\n\"delivery.p98_ms\" = 3\n"));
        assert!(threshold.contains("my.toml line 5") && threshold.contains("delivery.p99_ms"), "{threshold}");
        assert!(said(&format!("{head}sessions = 3\n[lod]\n")).contains("lod"));
        assert!(said("scenario = ").contains("line 1"));
    }

    #[test]
    fn a_bad_unit_is_told_with_its_line() {
        let text = "scenario = \"steady\"\npurpose = \"For a test.\"\n[load]\nsessions = 1\nchats = 1\nrate = 1\nduration = \"3y\"\n";
        let file = ScenarioFile::parse("my.toml", text).unwrap();
        let said = Cli::try_parse_from(file.command_line(&[])).unwrap_err().to_string();
        assert!(file.explain(&said).starts_with("my.toml line 7: "), "{}", file.explain(&said));
    }
}
