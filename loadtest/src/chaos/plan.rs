//! Which faults, in which order, for how long. The same seed, victims and count give the same schedule. Pure.

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
/// How long what was killed stays away, and a link cut.
const AWAY_MS: std::ops::RangeInclusive<u64> = 500..=10_000;
/// A disk is full for so long that whoever writes comes to the end of the room that it had taken before: the rest of a
/// block of each partition, of a segment of the commit log, of a page of a table. Whether it did, the command says.
const FULL_MS: std::ops::RangeInclusive<u64> = 8_000..=20_000;
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
    /// Stopped in order, and started after a while.
    Stop,
    /// Stopped in order and started at once.
    Restart,
    /// All processes of its part are away while an edge, an API and the routers start; then they start.
    Absent,
    /// All links of a router are cut, and whole again after a while.
    LinkCut,
    /// Nothing is left of a process's disk, and there is room again after a while.
    DiskFull,
}

/// How links are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cut {
    /// They are reset, and new ones refused.
    Reset,
    /// They stay open, new ones too, and no byte passes.
    Silent,
}

impl Cut {
    /// What it makes of links.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Reset => "reset and refused",
            Self::Silent => "open and silent",
        }
    }
}

impl Kind {
    /// As on the command line.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Stop => "stop",
            Self::Restart => "restart",
            Self::Absent => "absent",
            Self::LinkCut => "link-cut",
            Self::DiskFull => "disk-full",
        }
    }

    /// What a cluster must have for it that not every cluster has.
    pub const fn needs(self) -> Option<&'static str> {
        match self {
            Self::LinkCut => Some(
                "no router's links go through a process that can be cut; 'ops/cluster up --link-proxies' makes them",
            ),
            Self::DiskFull => Some(
                "none of these processes has a disk of its own that can be filled; 'ops/cluster up --small-disks' makes them",
            ),
            Self::Kill | Self::Pause | Self::Stop | Self::Restart | Self::Absent => None,
        }
    }

    fn hold(self, random: &mut StdRng, long: bool) -> Duration {
        let range = match self {
            Self::Restart => return Duration::ZERO,
            Self::Pause if long => LONG_PAUSE_MS,
            Self::Pause => SHORT_PAUSE_MS,
            Self::DiskFull => FULL_MS,
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
    /// How, of a cut of links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<Cut>,
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
        write!(f, "{:>3}  {:<9} {:<12}", self.number, self.kind.label(), self.process)?;
        if self.hold > Duration::ZERO {
            write!(f, " for {:.1} s", self.hold.as_secs_f64())?;
        }
        match self.cut {
            Some(cut) => write!(f, ", links {}", cut.words()),
            None => Ok(()),
        }
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

/// A process to which faults are done, and which of them can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Such as `router-2`.
    pub process: String,
    /// Those of a part's first process are those of all; without any, nothing is done to it.
    pub kinds: Vec<Kind>,
}

/// A schedule of `count` faults. Parts come in rounds, each once a round; a part's kinds too, and its
/// processes take turns, so that sessions that moved off one meet the next fault where they went. Every
/// second pause of a part is a long one, unless `pause` says how long all are.
pub fn draw(seed: u64, victims: &[Victim], count: usize, pause: Option<Duration>) -> Vec<Fault> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut parts = parts(victims);
    let mut faults = Vec::with_capacity(count);
    while faults.len() < count && !parts.is_empty() {
        parts.shuffle(&mut random);
        for part in &mut parts {
            if faults.len() == count {
                break;
            }
            if part.kinds.is_empty() {
                part.kinds = part.possible.to_vec();
                part.kinds.shuffle(&mut random);
            }
            let Some(kind) = part.kinds.pop() else { continue };
            let long = part.pauses % 2 == 0;
            part.pauses += usize::from(kind == Kind::Pause);
            let drawn = kind.hold(&mut random, long);
            let hold = pause.filter(|_| kind == Kind::Pause).unwrap_or(drawn);
            let cut = (kind == Kind::LinkCut).then(|| if random.random() { Cut::Silent } else { Cut::Reset });
            faults.push(Fault { number: faults.len() + 1, process: part.turn().to_owned(), kind, cut, hold });
        }
    }
    faults
}

/// Each part once with each kind, with both ways of cutting, with the same times for all: the fault table's. Edges come first, and each fault of one
/// goes to where the fault before it left the sessions: a pause leaves them where they are, and whatever is absent takes
/// them off an edge that is started meanwhile.
pub fn table(victims: &[Victim]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    let mut parts = parts(victims);
    parts.sort_by_key(|part| part_of(part.processes[0]) != "edge");
    for part in &mut parts {
        let mut process = part.turn();
        for (place, &kind) in part.possible.iter().enumerate() {
            if place > 0 && part.possible[place - 1] != Kind::Pause {
                process = part.turn();
            }
            let hold = match kind {
                Kind::Restart => Duration::ZERO,
                Kind::Pause => TABLE_PAUSE,
                _ => TABLE_AWAY,
            };
            let ways: &[Option<Cut>] =
                if kind == Kind::LinkCut { &[Some(Cut::Reset), Some(Cut::Silent)] } else { &[None] };
            for &cut in ways {
                faults.push(Fault { number: faults.len() + 1, process: process.to_owned(), kind, cut, hold });
            }
        }
    }
    faults
}

struct Part<'a> {
    processes: Vec<&'a str>,
    turn: usize,
    possible: &'a [Kind],
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
fn parts(victims: &[Victim]) -> Vec<Part<'_>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for Victim { process, kinds: possible } in victims.iter().filter(|victim| !victim.kinds.is_empty()) {
        match parts.iter_mut().find(|part| part_of(part.processes[0]) == part_of(process)) {
            Some(part) => part.processes.push(process),
            None => {
                let (processes, kinds) = (vec![process.as_str()], Vec::new());
                parts.push(Part { processes, turn: 0, possible, kinds, pauses: 0 });
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 3] = [Kind::Kill, Kind::Pause, Kind::Restart];

    fn victims(kinds: &[Kind]) -> Vec<Victim> {
        let processes = ["kafka-1", "cassandra-1", "postgres", "redis", "router-1", "router-2", "edge-1", "edge-2"];
        processes.map(|process| Victim { process: process.into(), kinds: kinds.to_vec() }).into()
    }

    #[test]
    fn a_seed_gives_the_same_schedule_and_another_one_another() {
        let drawn = |seed| draw(seed, &victims(&KINDS), 40, None);
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        assert_eq!(draw(7, &victims(&KINDS), 20, None), drawn(7)[..20], "a shorter one is its beginning");
    }

    #[test]
    fn every_part_gets_its_share_of_faults_and_of_every_kind() {
        for seed in 0..50 {
            let faults = draw(seed, &victims(&KINDS), 40, None);
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
        let faults = draw(7, &victims(&KINDS), 40, Some(minute));
        for (fault, drawn) in faults.iter().zip(draw(7, &victims(&KINDS), 40, None)) {
            let hold = if fault.kind == Kind::Pause { minute } else { drawn.hold };
            assert_eq!(*fault, Fault { hold, ..drawn });
        }
    }

    #[test]
    fn what_only_some_processes_can_suffer_is_done_to_those_and_links_are_cut_both_ways() {
        let of = |process: &str, kinds: &[Kind]| Victim { process: process.into(), kinds: kinds.into() };
        let routers = ["router-1", "router-2"].map(|router| of(router, &[Kind::Kill, Kind::LinkCut]));
        let victims = [of("kafka-1", &[Kind::DiskFull]), routers[0].clone(), routers[1].clone()];
        let mut cuts: Vec<(String, Cut)> = Vec::new();
        for seed in 0..20 {
            let faults = draw(seed, &victims, 16, None);
            assert_eq!(faults.len(), 16);
            for fault in &faults {
                let victim = victims.iter().find(|victim| victim.process == fault.process).unwrap();
                assert!(victim.kinds.contains(&fault.kind) && !fault.hold.is_zero(), "{fault}");
                assert_eq!(fault.cut.is_some(), fault.kind == Kind::LinkCut);
            }
            cuts.extend(faults.iter().filter_map(|fault| Some((fault.process.clone(), fault.cut?))));
        }
        for cut in [Cut::Reset, Cut::Silent] {
            assert!(routers.iter().all(|router| cuts.contains(&(router.process.clone(), cut))), "{cuts:?}");
        }
        let fault =
            |kind, cut| Fault { number: 1, process: "router-2".into(), kind, cut, hold: Duration::from_millis(7_300) };
        let silent = fault(Kind::LinkCut, Some(Cut::Silent));
        assert_eq!(silent.to_string(), "  1  link-cut  router-2     for 7.3 s, links open and silent");
        assert_eq!(serde_json::to_value(&silent).unwrap()["cut"], "silent");
        assert!(serde_json::to_value(fault(Kind::DiskFull, None)).unwrap().get("cut").is_none());
    }

    #[test]
    fn processes_of_a_part_take_turns() {
        let faults = draw(1, &victims(&KINDS), 36, None);
        let edges: Vec<&str> =
            faults.iter().filter(|fault| fault.part() == "edge").map(|fault| fault.process.as_str()).collect();
        assert_eq!(edges, ["edge-1", "edge-2", "edge-1", "edge-2", "edge-1", "edge-2"]);
    }

    #[test]
    fn the_table_has_each_part_with_each_kind_once() {
        let faults = table(&victims(&[Kind::Kill, Kind::Pause, Kind::Restart, Kind::Absent]));
        assert_eq!(faults.len(), 6 * 4);
        assert!(faults.iter().filter(|fault| fault.kind == Kind::Pause).all(|fault| fault.hold.as_secs() == 30));
        assert_eq!(faults[4].to_string(), "  5  kill      kafka-1      for 10.0 s");
        let edges: Vec<&str> = faults[..4].iter().map(|fault| fault.process.as_str()).collect();
        assert_eq!(edges, ["edge-1", "edge-2", "edge-2", "edge-1"], "where the sessions are");
    }

    #[test]
    fn the_table_cuts_links_both_ways() {
        let router = Victim { process: "router-1".into(), kinds: vec![Kind::Kill, Kind::LinkCut] };
        let cuts: Vec<Option<Cut>> = table(&[router]).iter().map(|fault| fault.cut).collect();
        assert_eq!(cuts, [None, Some(Cut::Reset), Some(Cut::Silent)]);
    }

    #[test]
    fn nothing_to_do_makes_an_empty_schedule() {
        assert!(draw(1, &[], 5, None).is_empty());
        assert!(draw(1, &victims(&[]), 5, None).is_empty());
    }

    #[test]
    fn a_name_tells_its_part() {
        assert_eq!(["router-12", "postgres", "my-part"].map(part_of), ["router", "postgres", "my-part"]);
    }
}
