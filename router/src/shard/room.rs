//! The room of tables: one that held many entries keeps the room for them until it is told not to.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashMap;

/// Room for fewer entries than this is not worth the work.
const ROOM_MIN: usize = 64;

/// Gives back most of a table's room once three quarters of it are empty. That costs about as much as the removals
/// that made it so.
pub(super) fn give_back<K: Eq + Hash, V, S: BuildHasher>(table: &mut HashMap<K, V, S>) {
    if table.capacity() > ROOM_MIN.max(4 * table.len()) {
        table.shrink_to(ROOM_MIN.max(2 * table.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_large_gives_its_room_back_and_one_that_is_filled_keeps_it() {
        let mut table: HashMap<u32, u64> = (0..100_000).map(|number| (number, 7)).collect();
        let full = table.capacity();
        give_back(&mut table);
        assert_eq!(table.capacity(), full);
        table.retain(|number, _| *number < 1_000);
        give_back(&mut table);
        assert!(table.capacity() < 4_000 && table.len() == 1_000, "room for {}", table.capacity());
        assert!((0..1_000).all(|number| table.get(&number) == Some(&7)));
    }
}
