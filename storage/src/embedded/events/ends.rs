//! Where the events of entities end, as far as it is known. Whoever writes behind the end, which is almost
//! everybody, need not look whether something newer is stored in that place.

use std::collections::HashMap;
use std::ops::Bound;

use foldhash::fast::RandomState;
use panda_protocol::{EntityId, Seq};

use super::keys;
use super::tables::Tables;
use crate::error::StoreError;
use crate::event_store::ReadOrder;

/// Entities whose ends are remembered from one commit to the next, of 24 bytes each. Beyond them all are forgotten, and
/// found again one by one.
const REMEMBERED_MAX: usize = if cfg!(test) { 2 } else { 65_536 };

/// The ends of the entities that were written last. An end may be behind the true one, never before it.
#[derive(Default)]
pub(super) struct Ends(HashMap<EntityId, Seq, RandomState>);

impl Ends {
    /// To be called between two commits only: while one is made, an end may be of what is not stored yet, and would not be
    /// found again.
    pub(super) fn forget_many(&mut self) {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.clear();
        }
    }

    /// Whether no event of this number or a later one is stored. From now on, one of this number may be.
    pub(super) fn is_behind(&mut self, tables: &Tables, entity: EntityId, seq: Seq) -> Result<bool, StoreError> {
        let end = match self.0.get(&entity) {
            Some(end) => *end,
            None => stored_end(tables, entity)?,
        };
        self.0.insert(entity, end.max(seq));
        Ok(seq > end)
    }
}

fn stored_end(tables: &Tables, entity: EntityId) -> Result<Seq, StoreError> {
    let (first, last) = (keys::event(entity, Seq(0)), keys::event(entity, Seq(u64::MAX)));
    let bounds = (Bound::Included(&first[..]), Bound::Included(&last[..]));
    let mut end = Seq(0);
    super::walk(tables, bounds, ReadOrder::Backward, 1, |(key, value)| {
        end = keys::read_event(key, value)?.seq;
        Ok(false)
    })?;
    Ok(end)
}
