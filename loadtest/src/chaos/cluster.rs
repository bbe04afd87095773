//! A cluster's processes, through the command that works on it: `VERB [PROCESS] --name CLUSTER` with the
//! verbs status, kill, pause, resume, stop and restart; fill and free where processes have small disks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;

use super::plan::{Cut, Fault, Kind, Victim, part_of};
use crate::report::line;

/// What frees a disk waits for the process to serve, and, if it ends then, for another start: this is longer than the
/// command's own limits for both, 180 s each.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(420);
/// What is read of a command's output.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024;
/// How the command says that a process had to be killed that was asked to stop.
pub const KILLED: &str = "was killed";
/// The part that only carries links.
const LINK: &str = "link";
/// Of the command's complaint, what a report shows.
const COMPLAINT_CHARACTERS_MAX: usize = 600;

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    command: PathBuf,
    name: String,
}

/// What `status` says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Such as `edge-1`.
    pub name: String,
    /// `running`, or something else.
    pub state: String,
    /// Its number; of one that does not run, none.
    pub pid: Option<u32>,
    /// Where clients find it; an edge's base URL.
    pub address: String,
}

/// What `status` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// In the order of their start.
    pub processes: Vec<Process>,
    /// The file of the first API key.
    pub admin_key: Option<PathBuf>,
    /// Processes whose disks can be filled.
    pub small_disks: Vec<String>,
    /// Of Panda's own processes, where each tells its figures: `host:port`.
    pub health: BTreeMap<String, String>,
    /// The edge that seals what it gives to sessions with a secret of its own.
    pub own_secret: Option<String>,
    /// The file of the edges' certificate, where they speak TLS.
    pub certificate: Option<PathBuf>,
}

impl Status {
    fn read(text: &str) -> Self {
        let mut status = Self::default();
        for row in text.lines().skip(1) {
            if let Some(path) = row.strip_prefix("admin key: ") {
                status.admin_key = Some(PathBuf::from(path));
            } else if let Some(names) = row.strip_prefix("small disks: ") {
                status.small_disks = names.split_whitespace().map(ToOwned::to_owned).collect();
            } else if let Some(addresses) = row.strip_prefix("health: ") {
                let pairs = addresses.split_whitespace().filter_map(|pair| pair.split_once('='));
                status.health = pairs.map(|(name, address)| (name.to_owned(), address.to_owned())).collect();
            } else if let Some(name) = row.strip_prefix("own secret: ") {
                status.own_secret = Some(name.to_owned());
            } else if let Some(path) = row.strip_prefix("certificate: ") {
                status.certificate = Some(PathBuf::from(path));
            } else if let [name, state, pid, .., address] = row.split_whitespace().collect::<Vec<_>>()[..] {
                let [name, state, address] = [name, state, address].map(ToOwned::to_owned);
                status.processes.push(Process { name, state, pid: pid.parse().ok(), address });
            }
        }
        status
    }

    /// Names of all processes.
    pub fn names(&self) -> Vec<String> {
        self.processes.iter().map(|process| process.name.clone()).collect()
    }

    /// Base URLs of all edges.
    pub fn edges(&self) -> Vec<String> {
        self.addresses("edge")
    }

    /// Base URLs of the processes that serve the HTTP API alone.
    pub fn apis(&self) -> Vec<String> {
        self.addresses("api")
    }

    fn addresses(&self, part: &str) -> Vec<String> {
        let of_part = self.processes.iter().filter(|process| part_of(&process.name) == part);
        of_part.map(|process| process.address.clone()).collect()
    }

    /// The process at an address, however that is written.
    pub fn name_at(&self, address: &str) -> Option<&str> {
        let asked = plain(address);
        let mut processes = self.processes.iter();
        processes.find(|process| plain(&process.address) == asked).map(|process| process.name.as_str())
    }

    /// The processes of these parts, each with those of these kinds that can be done to it. If no part is named, what only
    /// carries links is left alone: it stands before a router so that the router's links can be cut.
    pub fn victims(&self, parts: &[String], kinds: &[Kind]) -> Vec<Victim> {
        let chosen = |part: &str| if parts.is_empty() { part != LINK } else { parts.iter().any(|named| named == part) };
        let names = self.processes.iter().map(|process| &process.name).filter(|name| chosen(part_of(name)));
        let victim = |name: &String| {
            let kinds = kinds.iter().copied().filter(|kind| self.can(name, *kind)).collect();
            Victim { process: name.clone(), kinds }
        };
        names.map(victim).collect()
    }

    fn can(&self, process: &str, kind: Kind) -> bool {
        match kind {
            Kind::Kill | Kind::Pause | Kind::Stop | Kind::Restart => true,
            // What waits for another part to come back is a process of Panda or what that needs.
            Kind::Absent => part_of(process) != LINK,
            Kind::LinkCut => {
                link_of(process).is_some_and(|link| self.processes.iter().any(|process| process.name == link))
            }
            Kind::DiskFull => self.small_disks.iter().any(|name| name == process),
        }
    }

    /// Those that do not run, in words; `None` if all do.
    pub fn missing(&self) -> Option<String> {
        let missing = self.processes.iter().filter(|process| process.state != "running");
        let words: Vec<String> = missing.map(|process| format!("{} is {}", process.name, process.state)).collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// One text for base URLs that mean the same.
fn plain(address: &str) -> String {
    let address = address.trim_end_matches('/').to_ascii_lowercase();
    match address.split_once("://localhost") {
        Some((scheme, port)) if port.is_empty() || port.starts_with(':') => format!("{scheme}://127.0.0.1{port}"),
        _ => address,
    }
}

/// `link-2` of `router-2`: the process through which the router's links go, if there is one.
fn link_of(router: &str) -> Option<String> {
    router.strip_prefix("router-").map(|number| format!("{LINK}-{number}"))
}

/// A fault that is going on; if it is dropped before its end, whoever watches hears how to end it.
#[derive(Debug)]
#[must_use]
pub struct Open<'a> {
    cluster: &'a Cluster,
    verb: &'static str,
    processes: Vec<String>,
    /// What the command said of it, in lines.
    said: Vec<String>,
}

impl Open<'_> {
    fn hear(&mut self, said: &str) {
        self.said.extend(said.lines().map(ToOwned::to_owned));
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        for process in &self.processes {
            let (command, verb, name) = (self.cluster.command.display(), self.verb, &self.cluster.name);
            line(format_args!("the fault was not ended; to end it: {command} {verb} {process} --name {name}"));
        }
    }
}

impl Cluster {
    /// `command` is a path, or a name that is looked up as a shell would.
    pub fn new(command: &Path, name: &str) -> Self {
        Self { command: command.to_owned(), name: name.to_owned() }
    }

    /// What runs.
    ///
    /// # Errors
    /// A sentence, if the command fails.
    pub async fn status(&self) -> Result<Status, String> {
        self.call(&["status"]).await.map(|text| Status::read(&text))
    }

    /// Does the fault. Whoever holds it for its time ends it with [`Self::end`]; a restart is over by then.
    ///
    /// # Errors
    /// A sentence, if the command fails: the process is not there, or does not get ready again.
    pub async fn begin(&self, fault: &Fault, processes: &[String]) -> Result<Open<'_>, String> {
        let name = fault.process.as_str();
        match fault.kind {
            Kind::Kill => self.once("kill", name, "restart").await,
            Kind::Pause => self.once("pause", name, "resume").await,
            Kind::Stop => self.once("stop", name, "restart").await,
            Kind::Restart => {
                let mut open = self.open("restart", vec![name.to_owned()]);
                self.end_all(&mut open).await?;
                Ok(open)
            }
            Kind::Absent => self.be_absent(fault, processes).await,
            Kind::DiskFull => self.once("fill", name, "free").await,
            Kind::LinkCut => {
                let link = link_of(name).ok_or_else(|| format!("{name} takes no links"))?;
                match fault.cut {
                    Some(Cut::Silent) => self.once("pause", &link, "resume").await,
                    Some(Cut::Reset) | None => self.once("kill", &link, "restart").await,
                }
            }
        }
    }

    /// Ends the fault. Gives what the command said of it all, in lines: whether a process outlived its full disk, or had to
    /// be killed.
    ///
    /// # Errors
    /// As those of [`Self::begin`].
    pub async fn end(&self, mut open: Open<'_>) -> Result<Vec<String>, String> {
        self.end_all(&mut open).await?;
        Ok(std::mem::take(&mut open.said))
    }

    async fn end_all(&self, open: &mut Open<'_>) -> Result<(), String> {
        while let Some(process) = open.processes.first() {
            let said = self.call(&[open.verb, process]).await?;
            open.hear(&said);
            open.processes.remove(0);
        }
        Ok(())
    }

    /// One verb, which another one ends.
    async fn once(&self, verb: &str, process: &str, end: &'static str) -> Result<Open<'_>, String> {
        // Before the verb: one that is interrupted may have been done.
        let mut open = self.open(end, vec![process.to_owned()]);
        let said = self.call(&[verb, process]).await?;
        open.hear(&said);
        Ok(open)
    }

    /// Everything of the part is away; an edge, an API and all routers start meanwhile. The other edges go on, and
    /// so an edge that is away is one alone.
    async fn be_absent(&self, fault: &Fault, processes: &[String]) -> Result<Open<'_>, String> {
        let (absent, starting) = absent_and_starting(fault, processes);
        let mut open = self.open("restart", [absent, starting.clone()].concat());
        for process in &open.processes {
            self.call(&["kill", process]).await?;
        }
        for process in &starting {
            self.call(&["restart", process, "--no-wait"]).await?;
            open.processes.retain(|away| away != process);
        }
        Ok(open)
    }

    fn open(&self, verb: &'static str, processes: Vec<String>) -> Open<'_> {
        Open { cluster: self, verb, processes, said: Vec::new() }
    }

    async fn call(&self, arguments: &[&str]) -> Result<String, String> {
        let shown = format!("{} {} --name {}", self.command.display(), arguments.join(" "), self.name);
        let mut command = tokio::process::Command::new(&self.command);
        command.args(arguments).args(["--name", &self.name]).stdin(Stdio::null()).kill_on_drop(true);
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|error| format!("'{shown}' cannot be run: {error}"))?;
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let ended = async { tokio::try_join!(text_of(out), text_of(err), child.wait()) };
        match tokio::time::timeout(COMMAND_TIME_MAX, ended).await {
            Ok(Ok((out, _, status))) if status.success() => Ok(out),
            Ok(Ok((_, err, status))) => {
                let skipped = err.chars().count().saturating_sub(COMPLAINT_CHARACTERS_MAX);
                let complaint: String = err.chars().skip(skipped).collect();
                Err(format!("'{shown}' failed ({status}): {}", complaint.trim()))
            }
            Ok(Err(error)) => Err(format!("'{shown}' cannot be read: {error}")),
            Err(_) => Err(format!("'{shown}' did not end within {COMMAND_TIME_MAX:?}")),
        }
    }
}

/// The beginning of what a command says. It is not read further: one that says more is stuck, and ended.
async fn text_of(output: Option<impl tokio::io::AsyncRead + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        output.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The edges whose sockets a fault may end.
pub fn touched_edges(fault: &Fault, processes: &[String]) -> Vec<String> {
    let mut touched = if fault.kind == Kind::Absent {
        let (absent, starting) = absent_and_starting(fault, processes);
        [absent, starting].concat()
    } else {
        vec![fault.process.clone()]
    };
    touched.retain(|process| part_of(process) == "edge");
    touched
}

/// Which processes are away, and which start meanwhile.
fn absent_and_starting(fault: &Fault, processes: &[String]) -> (Vec<String>, Vec<String>) {
    let absent = |name: &&String| match fault.part() {
        "edge" => **name == fault.process,
        part => part_of(name) == part,
    };
    let away: Vec<String> = processes.iter().filter(absent).cloned().collect();
    let there = |part: &'static str| {
        let away = &away;
        processes.iter().filter(move |name| part_of(name) == part && !away.contains(name)).cloned()
    };
    let edge = if fault.part() == "edge" { None } else { there("edge").next() };
    let starting = there("router").chain(edge).chain(there("api").next()).collect();
    (away, starting)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
NAME         STATE         PID   MEMORY  ADDRESS
kafka-1      running      4448  239 MiB  127.0.0.1:20000
router-1     running      4500   20 MiB  127.0.0.1:20060
router-2     ended           -        -  127.0.0.1:20062
edge-1       paused       4501   30 MiB  http://127.0.0.1:20010
edge-2       running      4502   30 MiB  http://127.0.0.1:20013
api-1        running      4503   20 MiB  http://127.0.0.1:20092
small disks: kafka-1
health: router-1=127.0.0.1:20061 edge-1=127.0.0.1:20012
own secret: edge-2
certificate: /var/tmp/c/dev/edges.pem
admin key: /var/tmp/c/dev/admin.key
";

    #[test]
    fn status_is_read() {
        let status = Status::read(STATUS);
        assert_eq!(status.names(), ["kafka-1", "router-1", "router-2", "edge-1", "edge-2", "api-1"]);
        assert_eq!(status.edges(), ["http://127.0.0.1:20010", "http://127.0.0.1:20013"]);
        assert_eq!(status.apis(), ["http://127.0.0.1:20092"]);
        assert_eq!(status.missing().unwrap(), "router-2 is ended, edge-1 is paused");
        for address in ["http://127.0.0.1:20013", "http://127.0.0.1:20013/", "HTTP://localhost:20013"] {
            assert_eq!(status.name_at(address), Some("edge-2"), "{address}");
        }
        for address in ["http://127.0.0.1:2001", "http://localhost.example:20013", "https://127.0.0.1:20013"] {
            assert_eq!(status.name_at(address), None, "{address}");
        }
        assert_eq!(status.small_disks, ["kafka-1"]);
        assert_eq!(status.health.get("edge-1").map(String::as_str), Some("127.0.0.1:20012"));
        assert_eq!((status.own_secret.as_deref(), status.processes.len()), (Some("edge-2"), 6));
        assert_eq!(status.certificate.as_deref(), Some(Path::new("/var/tmp/c/dev/edges.pem")));
        assert_eq!(status.processes.iter().map(|process| process.pid).nth(1), Some(Some(4500)));
        assert_eq!(status.processes[2].pid, None, "it ended");
        assert_eq!(status.admin_key.unwrap(), Path::new("/var/tmp/c/dev/admin.key"));
        assert_eq!(Status::read(""), Status::default());
    }

    fn absent(process: &str) -> Fault {
        Fault { number: 1, process: process.into(), kind: Kind::Absent, cut: None, hold: Duration::ZERO }
    }

    #[test]
    fn only_what_a_cluster_was_made_for_can_be_cut_or_filled() {
        let mut status = Status::read(STATUS);
        let all = [Kind::Pause, Kind::LinkCut, Kind::DiskFull, Kind::Absent];
        let of = |status: &Status, parts: &[&str], process: &str| {
            let parts: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
            let mut victims = status.victims(&parts, &all).into_iter();
            victims.find(|victim| victim.process == process).map(|victim| victim.kinds)
        };
        assert_eq!(of(&status, &[], "kafka-1").unwrap(), [Kind::Pause, Kind::DiskFull, Kind::Absent]);
        assert_eq!(of(&status, &[], "router-2").unwrap(), [Kind::Pause, Kind::Absent]);
        assert_eq!(of(&status, &["kafka"], "router-2"), None);
        let link =
            Process { name: "link-2".into(), state: "running".into(), pid: None, address: "127.0.0.9:20062".into() };
        status.processes.push(link);
        assert_eq!(of(&status, &[], "router-2").unwrap(), [Kind::Pause, Kind::LinkCut, Kind::Absent]);
        assert_eq!(of(&status, &[], "link-2"), None, "it is no part of what is tried");
        assert_eq!(of(&status, &["link"], "link-2").unwrap(), [Kind::Pause], "unless that is asked for");
    }

    #[test]
    fn a_fault_touches_the_edge_that_is_lost_and_the_one_that_starts() {
        let names = Status::read(STATUS).names();
        let fault = |process: &str, kind| Fault { kind, ..absent(process) };
        assert_eq!(touched_edges(&fault("edge-2", Kind::Kill), &names), ["edge-2"]);
        assert_eq!(touched_edges(&fault("kafka-1", Kind::Absent), &names), ["edge-1"]);
        assert_eq!(touched_edges(&fault("edge-2", Kind::Absent), &names), ["edge-2"]);
        assert!(touched_edges(&fault("router-1", Kind::LinkCut), &names).is_empty());
    }

    #[test]
    fn while_a_part_is_absent_the_routers_an_edge_and_an_api_start() {
        let names = Status::read(STATUS).names();
        let of = |process: &str| {
            let fault = absent(process);
            let (away, starting) = absent_and_starting(&fault, &names);
            (away.join(" "), starting.join(" "))
        };
        assert_eq!(of("kafka-1"), ("kafka-1".into(), "router-1 router-2 edge-1 api-1".into()));
        assert_eq!(of("router-2"), ("router-1 router-2".into(), "edge-1 api-1".into()));
        assert_eq!(of("api-1"), ("api-1".into(), "router-1 router-2 edge-1".into()));
        assert_eq!(of("edge-2"), ("edge-2".into(), "router-1 router-2 api-1".into()));
    }

    #[tokio::test]
    async fn what_the_command_says_of_a_fault_is_kept_from_its_begin_to_its_end() {
        // It says what it was asked for, and with what.
        let cluster = Cluster::new(Path::new("echo"), "c");
        let said = |fault: Fault| {
            let cluster = &cluster;
            async move {
                let open = cluster.begin(&fault, &Status::read(STATUS).names()).await.unwrap();
                cluster.end(open).await.unwrap().join(", ")
            }
        };
        let fault = |kind, cut| Fault { kind, cut, ..absent("router-1") };
        assert_eq!(said(fault(Kind::Stop, None)).await, "stop router-1 --name c, restart router-1 --name c");
        assert_eq!(said(fault(Kind::Restart, None)).await, "restart router-1 --name c");
        assert_eq!(said(fault(Kind::DiskFull, None)).await, "fill router-1 --name c, free router-1 --name c");
        let silent = said(fault(Kind::LinkCut, Some(Cut::Silent))).await;
        assert_eq!(silent, "pause link-1 --name c, resume link-1 --name c");
        let reset = said(fault(Kind::LinkCut, Some(Cut::Reset))).await;
        assert_eq!(reset, "kill link-1 --name c, restart link-1 --name c");
        assert_eq!(said(absent("api-1")).await, "restart api-1 --name c", "what is ended is what was away");
    }

    #[tokio::test]
    async fn a_command_that_fails_or_is_not_there_is_told_with_its_complaint() {
        let failed = Cluster::new(Path::new("false"), "c").status().await.unwrap_err();
        assert!(failed.contains("false status --name c") && failed.contains("exit status: 1"), "{failed}");
        let missing = Cluster::new(Path::new("/nowhere/cluster"), "c").status().await.unwrap_err();
        assert!(missing.contains("cannot be run"), "{missing}");
    }
}
