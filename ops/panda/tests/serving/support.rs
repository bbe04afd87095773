//! A `panda serve` of a test's own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::JoinHandle;

/// A `panda serve` on free ports, in a folder that goes with it.
pub(crate) struct Served {
    process: Child,
    /// Read no further; closed, it would be in the process's way.
    _panel: BufReader<ChildStdout>,
    /// Takes what it says, so that it never waits for a reader.
    said: Option<JoinHandle<String>>,
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

impl Served {
    /// Starts one with these variables, such as `PANDA_LOG_LEVEL`.
    pub(crate) fn start(variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_panda"))
            .args(["serve", "--data", folder.path().join("data").to_str().unwrap()])
            .args(["--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--health", "127.0.0.1:0"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = process.stderr.take().unwrap();
        let said = std::thread::spawn(move || {
            let mut said = String::new();
            errors.read_to_string(&mut said).unwrap();
            said
        });
        let mut panel = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        let url = loop {
            line.clear();
            assert_ne!(panel.read_line(&mut line).unwrap(), 0, "it starts");
            if let Some(page) = line.trim().strip_prefix("page") {
                break page.trim().to_owned();
            }
        };
        Self { process, _panel: panel, said: Some(said), url, folder }
    }

    /// Its data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Kills it; returns what it said until then.
    pub(crate) fn end(mut self) -> String {
        self.process.kill().unwrap();
        self.said.take().unwrap().join().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
