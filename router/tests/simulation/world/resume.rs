//! Edges hear of owners sooner or later, lose their links, and state their interests again.

use std::collections::HashSet;

use panda_protocol::link::{LinkId, Record, Resume, Up};
use panda_protocol::{EntityId, Generation, Position, Seq};
use panda_router::shard::Input;
use rand::Rng;

use super::super::reference::Reference;
use super::{EDGES, World};

impl World {
    /// One of the edges hears of one of the owners.
    pub(super) fn hear_somebody(&mut self) {
        if !self.owners.is_empty() {
            let owner = self.random.random_range(0..self.owners.len());
            let edge = self.random.random_range(0..EDGES);
            self.hear(self.owners[owner].core.generation(), edge);
        }
    }

    /// The owner of a term says to an edge that it is one, before anything else; the edge states its
    /// interests.
    pub(super) fn hear(&mut self, term: Generation, edge: u64) {
        let Some(resume) = self.edges[usize::try_from(edge).expect("small")].hear(term) else { return };
        self.covered.resumes += usize::from(resume.watermark.is_some() && !resume.entities.is_empty());
        let first = self.random.random_range(0..=resume.entities.len());
        let (first, second) = resume.entities.split_at(first);
        for (entities, last) in [(first, false), (second, true)] {
            let part = Resume { last, entities: entities.to_vec(), ..resume.clone() };
            self.with_owner_of(term, |owner, _| owner.core.handle(Input::Up(LinkId(edge), Up::Resume(part))));
        }
    }

    /// An edge loses the link to its owner.
    pub(super) fn break_link(&mut self) {
        let edge = self.random.random_range(0..EDGES);
        let Some(generation) = self.edges[usize::try_from(edge).expect("small")].break_link() else { return };
        self.with_owner_of(generation, |owner, _| owner.core.handle(Input::LinkClosed(LinkId(edge))));
        self.covered.broken_links += 1;
    }

    /// The log tells an owner what a link may have missed, or that it cannot tell.
    pub(super) fn tail(&mut self) {
        let (log, gone) = (std::mem::take(&mut self.log), self.random.random_bool(0.05));
        self.with_owner(|owner, _| {
            if let Some((tail, from, to)) = owner.tails.pop_front() {
                let touched = if gone { None } else { touched(log.iter(), from, to) };
                owner.core.handle(Input::TailRead(tail, touched));
            }
        });
        self.log = log;
    }

    /// Makes an edge that has not heard of the last owner hear of it; returns whether there was one.
    pub(super) fn hear_last(&mut self) -> bool {
        let generation = self.owners[0].core.generation();
        let linked = |edge: &u64| self.edges[usize::try_from(*edge).expect("small")].is_linked(generation);
        let deaf = (0..EDGES).find(|edge| !linked(edge));
        deaf.inspect(|edge| self.hear(generation, *edge)).is_some()
    }

    /// Whatever an edge missed, no session believes that it has everything while it has not.
    pub(super) fn check_live(&mut self, reference: &Reference) {
        for (entity, next, admitted_before) in self.edges.iter().flat_map(|edge| edge.live()) {
            let events = reference.events.range((entity, Seq(0))..=(entity, Seq(u64::MAX)));
            let head = events.last().map_or(Seq(0), |((_, seq), _)| *seq);
            assert_eq!(next, head.next(), "a session misses events of {entity}, and nobody told it");
            self.covered.kept += usize::from(admitted_before);
        }
    }
}

fn touched<'a>(
    log: impl Iterator<Item = &'a panda_storage::LogRecord>,
    from: Position,
    to: Position,
) -> Option<HashSet<EntityId>> {
    if from < to && from.epoch != to.epoch {
        return None;
    }
    let within = log.filter(|entry| (from..to).contains(&entry.position));
    Some(within.filter_map(|entry| Record::from_bytes(entry.record.clone()).expect("a record").entity()).collect())
}
