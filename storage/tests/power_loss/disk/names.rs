//! The names in a folder: those that are there now, those that are durable, and every change between.

use std::collections::BTreeMap;

use super::survival::Survival;

/// A file or folder, by its place in the list of all.
pub(crate) type Node = usize;

#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    changes: Vec<(u64, Change)>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, Node),
    Remove(String),
    Rename(String, String, Node),
}

impl Change {
    fn apply(self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Put(name, node) => drop(names.insert(name, node)),
            Self::Remove(name) => drop(names.remove(&name)),
            Self::Rename(from, to, node) => {
                names.remove(&from);
                names.insert(to, node);
            }
        }
    }
}

impl Names {
    pub(crate) fn now(&self) -> &BTreeMap<String, Node> {
        &self.now
    }

    pub(crate) fn put(&mut self, time: u64, name: &str, node: Node) {
        self.change(time, Change::Put(name.into(), node));
    }

    pub(crate) fn remove(&mut self, time: u64, name: &str) {
        self.change(time, Change::Remove(name.into()));
    }

    pub(crate) fn rename(&mut self, time: u64, from: &str, to: &str) {
        let node = self.now[from];
        self.change(time, Change::Rename(from.into(), to.into(), node));
    }

    fn change(&mut self, time: u64, change: Change) {
        change.clone().apply(&mut self.now);
        self.changes.push((time, change));
    }

    pub(crate) fn sync(&mut self) {
        self.survive(&mut Survival::all());
    }

    /// What is left once the power went.
    pub(crate) fn survive(&mut self, survival: &mut Survival) {
        for (time, change) in std::mem::take(&mut self.changes) {
            if survival.keeps(time) {
                change.apply(&mut self.durable);
            }
        }
        self.now = self.durable.clone();
    }
}
