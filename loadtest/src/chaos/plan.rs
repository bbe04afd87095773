//! Which faults, in which order, for how long. The same seed, processes, kinds and count give the same
//! schedule. Pure.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::{Serialize, Serializer};

/// A link or a group's session ends after 3 s of silence: a pause is clearly shorter or clearly longer.
const SHORT_PAUSE_MS: std::ops::RangeInclusive<u64> = 300..=2_000;
const LONG_PAUSE_MS: std::ops::RangeInclusive<u64> = 4_500..=30_000;
/// How long what was killed stays away.
const AWAY_MS: std::ops::RangeInclusive<u64> = 500..=10_000;
/// In the fault table.
const TABLE_PAUSE: Duration = Duration::from_secs(30);
const TABLE_AWAY: Duration = Duration::from_secs(10);

/// What is done to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// kill -9, and a start after a while.
    Kill,
    /// It hangs with its connections open, and goes on after a while.
    Pause,
    /// Stopped in order and started.
    Restart,
    /// All processes of its part are away while an edge, an API and the routers start; then they start.
    Absent,
    /// The connection of an edge and a router is cut; cannot be done here.
    LinkCut,
    /// The disk of a process is full; cannot be done here.
    DiskFull,
}

impl Kind {
    /// As on the command line.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Restart => "restart",
            Self::Absent => "absent",
            Self::LinkCut => "link-cut",
            Self::DiskFull => "disk-full",
        }
    }

    /// Why it cannot be done to processes of one machine.
    ///
    /// # Errors
    /// A sentence that says what to do instead.
    pub const fn possible(self) -> Result<(), &'static str> {
        match self {
            Self::LinkCut => Err("a link on loopback cannot be cut without rights over the machine's network; \
                 pause an edge or a router for longer than 3 s instead: both ends then end the link"),
            Self::DiskFull => Err("a disk cannot be filled for one process without mounting one; \
                 ops/journeys/full-disk does that where it may"),
            _ => Ok(()),
        }
    }

    fn hold(self, random: &mut StdRng, long: bool) -> Duration {
        let range = match self {
            Self::Restart => return Duration::ZERO,
            Self::Pause if long => LONG_PAUSE_MS,
            Self::Pause => SHORT_PAUSE_MS,
            _ => AWAY_MS,
        };
        Duration::from_millis(random.random_range(range))
    }
}

/// A fault of the schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Its place in the schedule, from 1.
    pub number: usize,
    /// The process, such as `router-2`.
    pub process: String,
    /// What is done to it.
    pub kind: Kind,
    /// From the fault to its end; in JSON in seconds.
    #[serde(rename = "hold_s", serialize_with = "seconds")]
    pub hold: Duration,
}

impl Fault {
    /// The kind of process, such as `router`.
    pub fn part(&self) -> &str {
        part_of(&self.process)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>3}  {:<8} {:<12}", self.number, self.kind.label(), self.process)?;
        if self.hold > Duration::ZERO { write!(f, " for {:.1} s", self.hold.as_secs_f64()) } else { Ok(()) }
    }
}

/// A time as a number of seconds.
///
/// # Errors
/// The serializer's.
pub fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// `router` of `router-2`.
pub fn part_of(process: &str) -> &str {
    match process.rsplit_once('-') {
        Some((part, number)) if number.bytes().all(|digit| digit.is_ascii_digit()) => part,
        _ => process,
    }
}

/// A schedule of `count` faults. Parts come in rounds, each once a round; a part's kinds too, and its
/// processes take turns, so that sessions that moved off one meet the next fault where they went. Every
/// second pause of a part is a long one, unless `pause` says how long all are.
pub fn draw(seed: u64, processes: &[String], kinds: &[Kind], count: usize, pause: Option<Duration>) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut parts = parts(processes);
    let mut faults = Vec::with_capacity(count);
    while faults.len() < count && !parts.is_empty() && !kinds.is_empty() {
        parts.shuffle(&mut random);
        for part in &mut parts {
            if faults.len() == count {
                break;
            }
            if part.kinds.is_empty() {
                part.kinds = kinds.to_vec();
                part.kinds.shuffle(&mut random);
            }
            let kind = part.kinds.pop().unwrap_or(kinds[0]);
            let long = part.pauses % 2 == 0;
            part.pauses += usize::from(kind == Kind::Pause);
            let drawn = kind.hold(&mut random, long);
            let hold = pause.filter(|_| kind == Kind::Pause).unwrap_or(drawn);
            faults.push(Fault { number: faults.len() + 1, process: part.turn().to_owned(), kind, hold });
        }
    }
    faults
}

/// Each part once with each kind, with the same times for all: the fault table's. Edges come first, and each fault of one
/// goes to where the fault before it left the sessions: a pause leaves them where they are, and whatever is absent takes
/// them off an edge that is started meanwhile.
pub fn table(processes: &[String], kinds: &[Kind]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut parts = parts(processes);
    parts.sort_by_key(|part| part_of(part.processes[0]) != "edge");
    for part in &mut parts {
        let mut process = part.turn();
        for (place, &kind) in kinds.iter().enumerate() {
            if place > 0 && kinds[place - 1] != Kind::Pause {
                process = part.turn();
            }
            let hold = match kind {
                Kind::Restart => Duration::ZERO,
                Kind::Pause => TABLE_PAUSE,
                _ => TABLE_AWAY,
            };
            faults.push(Fault { number: faults.len() + 1, process: process.to_owned(), kind, hold });
        }
    }
    faults
}

struct Part<'a> {
    processes: Vec<&'a str>,
    turn: usize,
    /// Kinds that are still to come in this round.
    kinds: Vec<Kind>,
    pauses: usize,
}

impl<'a> Part<'a> {
    fn turn(&mut self) -> &'a str {
        self.turn += 1;
        self.processes[(self.turn - 1) % self.processes.len()]
    }
}

/// In the order in which they are listed.
fn parts(processes: &[String]) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for process in processes {
        match parts.iter_mut().find(|part| part_of(part.processes[0]) == part_of(process)) {
            Some(part) => part.processes.push(process),
            None => parts.push(Part { processes: vec![process], turn: 0, kinds: Vec::new(), pauses: 0 }),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 3] = [Kind::Kill, Kind::Pause, Kind::Restart];

    fn processes() -> Vec<String> {
        ["kafka-1", "cassandra-1", "postgres", "redis", "router-1", "router-2", "edge-1", "edge-2"]
            .map(Into::into)
            .into()
    }

    #[test]
    fn a_seed_gives_the_same_schedule_and_another_one_another() {
        let drawn = |seed| draw(seed, &processes(), &KINDS, 40, None);
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert_eq!(draw(7, &processes(), &KINDS, 20, None), drawn(7)[..20], "a shorter one is its beginning");
    }

    #[test]
    fn every_part_gets_its_share_of_faults_and_of_every_kind() {
        for seed in 0..50 {
            let faults = draw(seed, &processes(), &KINDS, 40, None);
            assert_eq!(faults.len(), 40);
            for part in ["kafka", "cassandra", "postgres", "redis", "router", "edge"] {
                let of_part = || faults.iter().filter(|fault| fault.part() == part);
                assert!(of_part().count() >= 40 / 6, "{part}");
                assert!(KINDS.iter().all(|kind| of_part().any(|fault| fault.kind == *kind)), "{part}");
            }
            let long = |fault: &Fault| fault.kind == Kind::Pause && fault.hold > Duration::from_secs(3);
            assert!(faults.iter().any(|fault| fault.part() == "router" && long(fault)), "longer than a session");
            assert!(faults.iter().all(|fault| fault.hold <= Duration::from_secs(30)));
        }
    }

    #[test]
    fn a_pause_that_was_asked_for_is_of_all_pauses_and_of_nothing_else() {
        let minute = Duration::from_secs(60);
        let faults = draw(7, &processes(), &KINDS, 40, Some(minute));
        for (fault, drawn) in faults.iter().zip(draw(7, &processes(), &KINDS, 40, None)) {
            let hold = if fault.kind == Kind::Pause { minute } else { drawn.hold };
            assert_eq!(*fault, Fault { hold, ..drawn });
        }
    }

    #[test]
    fn processes_of_a_part_take_turns() {
        let faults = draw(1, &processes(), &KINDS, 36, None);
        let edges: Vec<&str> =
            faults.iter().filter(|fault| fault.part() == "edge").map(|fault| fault.process.as_str()).collect();
        assert_eq!(edges, ["edge-1", "edge-2", "edge-1", "edge-2", "edge-1", "edge-2"]);
    }

    #[test]
    fn the_table_has_each_part_with_each_kind_once() {
        let faults = table(&processes(), &[Kind::Kill, Kind::Pause, Kind::Restart, Kind::Absent]);
        assert_eq!(faults.len(), 6 * 4);
        assert!(faults.iter().filter(|fault| fault.kind == Kind::Pause).all(|fault| fault.hold.as_secs() == 30));
        assert_eq!(faults[4].to_string(), "  5  kill     kafka-1      for 10.0 s");
        let edges: Vec<&str> = faults[..4].iter().map(|fault| fault.process.as_str()).collect();
        assert_eq!(edges, ["edge-1", "edge-2", "edge-2", "edge-1"], "where the sessions are");
    }

    #[test]
    fn nothing_to_do_makes_an_empty_schedule() {
        assert!(draw(1, &[], &KINDS, 5, None).is_empty());
        assert!(draw(1, &processes(), &[], 5, None).is_empty());
    }

    #[test]
    fn a_name_tells_its_part() {
        assert_eq!(["router-12", "postgres", "my-part"].map(part_of), ["router", "postgres", "my-part"]);
    }
}
