//! What holds during a fault besides the checker's rules: sockets of edges that nobody touched stay up, who is refused for
//! now is told what it is and when to come back, and nobody is refused for good. Where that is asked for, also for how long
//! sends may stall.

use std::collections::BTreeMap;
use std::time::Duration;

use panda_protocol::error_code::Recovery;

use super::calls::Failure;
use super::cluster::KILLED;
use super::plan::{Fault, Kind};
use crate::report::{Counts, LostSockets};
use crate::session::named;

/// A router's group and its links notice within this that it hangs; a shorter pause moves no shard.
const NOTICED: Duration = Duration::from_secs(3);
/// Until another router has the shards of one that was stopped in order, of one that is started again at once, and of one
/// of which nobody hears any more.
const STOPPED_MAX: Duration = Duration::from_secs(1);
const RESTARTED_MAX: Duration = Duration::from_secs(3);
const UNHEARD_MAX: Duration = Duration::from_secs(6);
/// While something is away that sends do not need.
const BESIDE_MAX: Duration = Duration::from_secs(2);

/// What was seen of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Connections that were lost.
    pub lost: &'a LostSockets,
    /// What was counted meanwhile.
    pub counts: &'a Counts,
    /// HTTP calls that were tried again.
    pub failed_calls: &'a BTreeMap<Failure, u64>,
    /// What the cluster's command said.
    pub said: &'a [String],
}

/// For how long sends waited.
#[derive(Clone, Copy, Debug)]
pub struct Stall {
    /// The longest ack until all was calm again.
    pub whole: Duration,
    /// The longest wait until the fault's end began; `None` if it was not held.
    pub held: Option<Duration>,
}

/// What did not hold, in words; empty if all did.
pub fn broken(Seen { lost, counts, failed_calls, said }: Seen<'_>) -> Vec<String> {
    let of_edge = |(edge, count): (&String, &u64)| {
        format!("{count} sessions lost their connection to {edge}, which was not touched")
    };
    let mut broken: Vec<String> = lost.of_others.iter().map(of_edge).collect();
    let untold: u64 = counts.repeated.iter().filter(|(why, _)| !why.names_wait).map(|(_, count)| count).sum();
    if untold > 0 {
        broken.push(format!("{untold} refusals of sends did not say when to come back"));
    }
    let untold: u64 = failed_calls.iter().filter(|(why, _)| !why.is_told()).map(|(_, count)| count).sum();
    if untold > 0 {
        broken.push(format!("{untold} refusals of HTTP calls did not say what they are and when to come back"));
    }
    // A send that is right and is refused for now is sent again until it is taken.
    let for_good = counts.refused.iter().filter(|(code, _)| Recovery::of(**code) != Recovery::Repeat);
    broken.extend(for_good.map(|(code, count)| format!("{count} sends were refused for good: {}", named(*code))));
    if counts.unknown > 0 {
        broken.push(format!("{} sends ended without an outcome, though they may be sent again", counts.unknown));
    }
    broken.extend(said.iter().filter(|said| said.contains(KILLED)).cloned());
    broken
}

/// A stall of sends that is longer than promised for this fault, in words. Only for a machine that does nothing else.
pub fn too_long(fault: &Fault, stall: Stall) -> Option<String> {
    let (felt, most) = match (fault.part(), fault.kind) {
        // Routers and an edge are killed for it: that is no fault of the part alone.
        (_, Kind::Absent) => return None,
        // The start behind it moves shards once more, which is not what a stop costs.
        ("router", Kind::Stop) => (stall.held?, STOPPED_MAX),
        ("router", Kind::Restart) => (stall.whole, RESTARTED_MAX),
        ("router", Kind::Kill) => (stall.whole, UNHEARD_MAX),
        ("router", Kind::Pause) if fault.hold > NOTICED => (stall.whole, UNHEARD_MAX),
        ("redis" | "api" | "postgres", _) => (stall.whole, BESIDE_MAX),
        _ => return None,
    };
    let (seconds, most_s) = (felt.as_secs_f64(), most.as_secs());
    (felt > most).then(|| format!("sends stalled for {seconds:.1} s, where {most_s} s are the most"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Repeated;

    fn words(lost: &LostSockets, counts: &Counts, failed_calls: &BTreeMap<Failure, u64>) -> Vec<String> {
        broken(Seen { lost, counts, failed_calls, said: &[] })
    }

    #[test]
    fn sockets_of_edges_that_nobody_touched_stay_up() {
        let lost = BTreeMap::from([(Some(0), 3), (Some(1), 30), (None, 1)]);
        let names = ["edge-1", "edge-2"].map(String::from);
        let edges = names.clone().map(Some);
        let words = |touched: &[String]| {
            let lost = LostSockets::of(&lost, &edges, touched);
            words(&lost, &Counts::default(), &BTreeMap::new())
        };
        let of = |edge: &str, count| format!("{count} sessions lost their connection to {edge}, which was not touched");
        assert_eq!(words(&names[1..]), [of("edge-1", 3)], "where a server sent one to, nobody can say");
        assert_eq!(words(&[]), [of("another edge", 1), of("edge-1", 3), of("edge-2", 30)]);
        assert!(words(&names).is_empty());
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_back() {
        let refused = |names_wait| Counts {
            repeated: BTreeMap::from([(Repeated { code: 2000, names_wait }, 2)]),
            ..Counts::default()
        };
        let called = |names_wait| {
            let why = Failure::Refused { status: 503, label: Some("unavailable".into()), names_wait };
            BTreeMap::from([(why, 4), (Failure::NoAnswer, 1)])
        };
        let lost = LostSockets::default();
        assert!(words(&lost, &refused(true), &called(true)).is_empty());
        let words = words(&lost, &refused(false), &called(false));
        assert!(words[0].starts_with("2 refusals of sends") && words[1].starts_with("4 refusals of HTTP"), "{words:?}");
    }

    #[test]
    fn no_send_is_refused_for_good_or_stays_without_an_outcome() {
        let of = |counts: &Counts| words(&LostSockets::default(), counts, &BTreeMap::new());
        let refused = |code| Counts { refused: BTreeMap::from([(code, 2)]), ..Counts::default() };
        assert!(of(&Counts { acked: 7, ..refused(2000) }).is_empty(), "for now");
        assert_eq!(of(&refused(2202)), ["2 sends were refused for good: not_member (2202)"]);
        assert_eq!(of(&refused(9999)), ["2 sends were refused for good: 9999"]);
        let unknown = of(&Counts { unknown: 3, ..Counts::default() });
        assert_eq!(unknown, ["3 sends ended without an outcome, though they may be sent again"]);
    }

    #[test]
    fn a_stop_that_became_a_kill_is_told() {
        let of = |said: &[&str]| {
            let said: Vec<String> = said.iter().map(|&said| said.to_owned()).collect();
            let (lost, counts) = (LostSockets::default(), Counts::default());
            broken(Seen { lost: &lost, counts: &counts, failed_calls: &BTreeMap::new(), said: &said })
        };
        let killed = "router-1 did not end within 20 s of being asked and was killed";
        assert_eq!(of(&["kafka-1 ended and was started", killed]), [killed]);
    }

    #[test]
    fn sends_stall_for_no_longer_than_is_promised() {
        let ms = Duration::from_millis;
        let of =
            |process: &str, kind, hold| Fault { number: 1, process: process.into(), kind, cut: None, hold: ms(hold) };
        let most = |fault: &Fault, whole, held| too_long(fault, Stall { whole: ms(whole), held: Some(ms(held)) });
        for (fault, limit_ms) in [
            (of("router-2", Kind::Restart, 0), 3_000),
            (of("router-2", Kind::Kill, 500), 6_000),
            (of("router-2", Kind::Pause, 65_000), 6_000),
            (of("redis", Kind::Pause, 30_000), 2_000),
            (of("api-1", Kind::Kill, 10_000), 2_000),
            (of("postgres", Kind::DiskFull, 10_000), 2_000),
        ] {
            assert_eq!(most(&fault, limit_ms, 0), None, "{fault}");
            assert!(most(&fault, limit_ms + 1, 0).is_some(), "{fault}");
        }
        let stop = of("router-1", Kind::Stop, 10_000);
        assert_eq!(most(&stop, 9_000, 1_000), None, "the start behind it is another move");
        assert_eq!(most(&stop, 9_000, 1_200).unwrap(), "sends stalled for 1.2 s, where 1 s are the most");
        for fault in [
            of("router-1", Kind::Pause, 2_000),
            of("router-1", Kind::LinkCut, 10_000),
            of("redis", Kind::Absent, 10_000),
            of("kafka-1", Kind::Kill, 10_000),
        ] {
            assert_eq!(most(&fault, 60_000, 60_000), None, "{fault}");
        }
    }
}
