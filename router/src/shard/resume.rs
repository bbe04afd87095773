//! Interest that edges had before this owner's term, or before their link broke.
//!
//! Stating it again loads nothing. What an edge may have missed is found in the log: the entities of
//! the commands between its watermark and what was taken in when the interest was noted. From then on
//! events go down the link by themselves, and an entity that is loaded for the first time tells its
//! head to whoever was interested before. What is stored further than the log was taken, and was loaded
//! before the interest was noted, is found in [`super::ahead`].

use std::collections::{HashMap, HashSet};

use panda_protocol::link::{Down, LinkId, Resume};
use panda_protocol::{EntityId, Seq};

use super::{Output, Shard};

/// Reads of the log's tail under way; beyond, a link is told to admit all its listeners anew.
const TAILS_MAX: usize = 64;

/// The reads of the log's tail under way, and for which link each is.
#[derive(Debug, Default)]
pub(super) struct Tails {
    links: HashMap<u64, LinkId>,
    next: u64,
}

impl Shard {
    /// A part of a link's interests.
    pub(super) fn resume(&mut self, link: LinkId, resume: Resume) {
        // The edge may have noted interests since: it states all of them to this term's Owner.
        if resume.generation != self.generation {
            return;
        }
        self.interests.begin_resume(link);
        for entity in resume.entities {
            let listens = self.interests.listen(link, entity, self.limits.interests_max).is_some();
            if !listens || self.damages.contains(entity) {
                // The edge delivers nothing of it before it is admitted, and is told then to wait.
                self.tell_readmit(link, entity);
            }
        }
        if !resume.last {
            return;
        }
        let (tail, taken) = (self.tails.next, self.progress.taken());
        // What stands before the watermark was sent, and the tail names what stands before `taken`.
        let told = resume.watermark.and_then(|from| Some((from, self.ahead.since(from.max(taken))?)));
        match told {
            Some((from, ahead)) if self.tails.links.len() < TAILS_MAX && self.interests.begin_tail(link, tail) => {
                self.tails.next += 1;
                self.tails.links.insert(tail, link);
                self.tell_missed(link, ahead);
                self.outputs.push(Output::ReadTail { tail, from, to: taken });
            }
            _ => self.readmit(link),
        }
    }

    /// These entities have commands that the link may not have seen the events of; none if the log does
    /// not tell.
    pub(super) fn tail_read(&mut self, tail: u64, touched: Option<HashSet<EntityId>>) {
        let Some(link) = self.tails.links.remove(&tail) else { return };
        if !self.interests.end_tail(link, tail) {
            return;
        }
        let Some(touched) = touched else { return self.readmit(link) };
        self.tell_missed(link, touched);
        self.interests.end_resume(link);
    }

    fn tell_missed(&mut self, link: LinkId, entities: impl IntoIterator<Item = EntityId>) {
        for entity in entities {
            if self.interests.listens(link, entity) {
                self.tell_readmit(link, entity);
            }
        }
    }

    /// Nobody knows what the link missed.
    fn readmit(&mut self, link: LinkId) {
        self.outputs.push(Output::Readmit(link));
        self.interests.end_resume(link);
    }

    pub(super) fn tell_readmit(&mut self, link: LinkId, entity: EntityId) {
        // The head is not looked up: the edge admits its listeners anew, and learns it so.
        let down = Down::Head { generation: self.generation, entity, head: Seq(0), readmit: true };
        self.outputs.push(Output::Send(link, down));
    }
}
