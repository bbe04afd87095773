//! Sockets that ended while a fault was felt: those of edges that it touched, and those of others, which must stay up.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The name of an edge that nobody can name: a server sent a session there, or it is a target that the cluster does not
/// have, such as a balancer before its edges. It may be any.
const UNNAMED: &str = "another edge";

/// Connections that sessions lost, by edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LostSockets {
    /// Of edges that the fault touched: one that was lost, or that was started meanwhile.
    #[serde(rename = "connections_lost_of_touched_edges")]
    pub of_touched: BTreeMap<String, u64>,
    /// Of all others.
    #[serde(rename = "connections_lost_of_other_edges")]
    pub of_others: BTreeMap<String, u64>,
}

impl LostSockets {
    /// Of what was lost by the places of `edges`, as far as those have names, of which the fault touched these. An edge
    /// without a name may be a touched one, if there is any.
    pub fn of(lost: &BTreeMap<Option<usize>, u64>, edges: &[Option<String>], touched: &[String]) -> Self {
        let mut sockets = Self::default();
        for (place, &count) in lost {
            let edge = place.and_then(|place| edges.get(place)?.as_ref());
            let is_touched = edge.map_or(!touched.is_empty(), |edge| touched.contains(edge));
            let side = if is_touched { &mut sockets.of_touched } else { &mut sockets.of_others };
            *side.entry(edge.map_or(UNNAMED, String::as_str).to_owned()).or_default() += count;
        }
        sockets
    }

    /// Whether none was lost.
    pub fn is_none(&self) -> bool {
        self.of_touched.is_empty() && self.of_others.is_empty()
    }
}

impl fmt::Display for LostSockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let touched = self.of_touched.iter().map(|(edge, count)| format!("{count} of {edge}"));
        let others = self.of_others.iter().map(|(edge, count)| format!("{count} of {edge}, which was not touched"));
        write!(f, "connections lost: {}", touched.chain(others).collect::<Vec<_>>().join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_touched_edge_lost_is_told_apart_from_what_others_did() {
        let edges = ["edge-1", "edge-2"].map(|edge| Some(edge.to_owned()));
        let lost = BTreeMap::from([(Some(0), 30), (Some(1), 2)]);
        let sockets = LostSockets::of(&lost, &edges, &["edge-1".into()]);
        assert_eq!(sockets.to_string(), "connections lost: 30 of edge-1; 2 of edge-2, which was not touched");
        let json = serde_json::to_value(&sockets).unwrap();
        assert_eq!(json["connections_lost_of_touched_edges"]["edge-1"], 30);
        assert_eq!(json["connections_lost_of_other_edges"]["edge-2"], 2);
        assert!(LostSockets::of(&BTreeMap::new(), &edges, &["edge-1".into()]).is_none());
    }

    #[test]
    fn an_edge_that_nobody_can_name_may_be_a_touched_one_if_there_is_any() {
        let edges = [Some("edge-1".to_owned()), None];
        let lost = BTreeMap::from([(Some(0), 1), (Some(1), 2), (None, 4)]);
        let of = |touched: &[String]| LostSockets::of(&lost, &edges, touched).to_string();
        assert_eq!(of(&["edge-2".into()]), "connections lost: 6 of another edge; 1 of edge-1, which was not touched");
        let untouched =
            "connections lost: 6 of another edge, which was not touched; 1 of edge-1, which was not touched";
        assert_eq!(of(&[]), untouched);
    }
}
