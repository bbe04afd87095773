//! What holds during a fault besides the checker's rules: sockets of edges that nobody touched stay up, and who is refused
//! for now is told what it is and when to come back.

use std::collections::BTreeMap;

use super::calls::Failure;
use crate::report::{Counts, LostSockets};

/// What did not hold, in words; empty if all did.
pub fn broken(lost: &LostSockets, counts: &Counts, failed_calls: &BTreeMap<Failure, u64>) -> Vec<String> {
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
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Repeated;

    #[test]
    fn sockets_of_edges_that_nobody_touched_stay_up() {
        let lost = BTreeMap::from([(Some(0), 3), (Some(1), 30), (None, 1)]);
        let edges = ["edge-1", "edge-2"].map(String::from);
        let words = |touched: &[String]| {
            let lost = LostSockets::of(&lost, &edges, touched);
            broken(&lost, &Counts::default(), &BTreeMap::new())
        };
        let of = |edge: &str, count| format!("{count} sessions lost their connection to {edge}, which was not touched");
        assert_eq!(words(&edges[1..]), [of("edge-1", 3)], "where a server sent one to, nobody can say");
        assert_eq!(words(&[]), [of("another edge", 1), of("edge-1", 3), of("edge-2", 30)]);
        assert!(words(&edges).is_empty());
        assert!(broken(&LostSockets::default(), &Counts::default(), &BTreeMap::new()).is_empty());
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
        assert!(broken(&lost, &refused(true), &called(true)).is_empty());
        let words = broken(&lost, &refused(false), &called(false));
        assert!(words[0].starts_with("2 refusals of sends") && words[1].starts_with("4 refusals of HTTP"), "{words:?}");
    }
}
