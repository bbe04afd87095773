//! What holds during a fault besides the checker's rules: sockets that nobody touched stay up, and who is refused for
//! now is told what it is and when to come back.

use std::collections::BTreeMap;

use super::calls::Failure;
use super::plan::{Fault, Kind};
use crate::report::Counts;

/// What did not hold, in words; empty if all did.
pub fn broken(fault: &Fault, counts: &Counts, failed_calls: &BTreeMap<Failure, u64>) -> Vec<String> {
    let mut broken = Vec::new();
    // An edge that is lost takes its sockets along, and one is started anew where a part is absent.
    let touches_an_edge = fault.part() == "edge" || fault.kind == Kind::Absent;
    if counts.connections_lost > 0 && !touches_an_edge {
        broken.push(format!("{} sessions lost their connection, and no edge was touched", counts.connections_lost));
    }
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
    use std::time::Duration;

    use super::*;
    use crate::recorder::Repeated;

    fn fault(process: &str, kind: Kind) -> Fault {
        Fault { number: 1, process: process.into(), kind, hold: Duration::ZERO }
    }

    #[test]
    fn sockets_of_edges_that_nobody_touched_stay_up() {
        let lost = Counts { connections_lost: 3, ..Counts::default() };
        let words = broken(&fault("kafka-1", Kind::Pause), &lost, &BTreeMap::new());
        assert_eq!(words, ["3 sessions lost their connection, and no edge was touched"]);
        for touching in [fault("edge-2", Kind::Kill), fault("kafka-1", Kind::Absent)] {
            assert!(broken(&touching, &lost, &BTreeMap::new()).is_empty());
        }
        assert!(broken(&fault("kafka-1", Kind::Pause), &Counts::default(), &BTreeMap::new()).is_empty());
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
        let fault = fault("router-1", Kind::Kill);
        assert!(broken(&fault, &refused(true), &called(true)).is_empty());
        let words = broken(&fault, &refused(false), &called(false));
        assert!(words[0].starts_with("2 refusals of sends") && words[1].starts_with("4 refusals of HTTP"), "{words:?}");
    }
}
