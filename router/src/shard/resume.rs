//! Interest that edges had before this owner's term, or before their link broke.
//!
//! Stating it again loads nothing. What an edge may have missed is found in the log: the entities of
//! the commands between its watermark and what was taken in when the interest was noted. From then on
//! events go down the link by themselves, and an entity that is loaded for the first time tells its
//! head to whoever was interested before.

use std::collections::HashSet;

use panda_protocol::link::{Down, LinkId, Resume};
use panda_protocol::{EntityId, Seq};

use super::{Output, Shard};

impl Shard {
    /// A part of a link's interests.
    pub(super) fn resume(&mut self, link: LinkId, resume: Resume) {
        for entity in resume.entities {
            let links = &mut self.interest.entry(entity).or_default().links;
            if !links.contains(&link) {
                links.push(link);
            }
        }
        if resume.last {
            self.outputs.push(match resume.watermark {
                Some(from) => Output::ReadTail { link, from, to: self.consumed },
                None => Output::Readmit(link),
            });
        }
    }

    /// These entities have commands that the link may not have seen the events of; none if the log does
    /// not tell.
    pub(super) fn tail_read(&mut self, link: LinkId, touched: Option<HashSet<EntityId>>) {
        let Some(touched) = touched else { return self.outputs.push(Output::Readmit(link)) };
        for entity in touched {
            if self.interest.get(&entity).is_some_and(|interest| interest.links.contains(&link)) {
                // The head is not looked up: the edge admits its listeners anew, and learns it so.
                let down = Down::Head { generation: self.generation, entity, head: Seq(0), readmit: true };
                self.outputs.push(Output::Send(link, down));
            }
        }
    }
}
