//! What a shard may hold.

use panda_storage::event_store::BUCKET_EVENTS;

/// Limits of one shard.
#[derive(Clone, Copy, Debug)]
pub struct ShardLimits {
    /// Records and reads that may wait in memory; above it no further record is read from the log.
    pub queue_max: usize,
    /// Bytes of the records that wait; above it no further record is read. What is taken from the log at
    /// once may go beyond it by as much.
    pub queue_bytes_max: usize,
    /// Reads and admissions that may wait; above it they are refused.
    pub reads_max: usize,
    /// Pairs of a link and an entity that it listens to; above it admissions are refused.
    pub interests_max: usize,
    /// Entities in memory; with more, those in which nothing went on for a second leave it.
    pub entities_max: usize,
    /// So many stay in memory for half a minute when nothing goes on in them; with more, they leave it after
    /// [`Self::idle_us`].
    pub entities_warm: usize,
    /// See [`Self::entities_warm`]; microseconds. Whoever uses one that left reads its rows from the store again.
    pub idle_us: u64,
    /// Entities that leave memory in one tick.
    pub evictions_a_tick: usize,
    /// What is known of an entity is kept for about so long when nobody listens to it any more, in microseconds: those
    /// who listened come back, and over other edges.
    pub standing_us: u64,
    /// So many times within that the last link that listened to an entity may have ended or left; beyond, nothing is kept.
    pub lapsing_max: usize,
    /// Rows of one entity kept in memory when they are stored.
    pub rows_max: usize,
    /// Effects that the log has not confirmed; above it no further record is read.
    pub effects_max: usize,
    /// Entities of which something stored cannot be read, in one term; with one more the shard is given up.
    pub damaged_max: usize,
    /// Events of one partition of the event store, which no write may leave.
    pub bucket_events: u64,
}

impl Default for ShardLimits {
    fn default() -> Self {
        Self {
            queue_max: 16_384,
            queue_bytes_max: 32 << 20,
            reads_max: 16_384,
            interests_max: 1 << 20,
            entities_max: 4_096,
            entities_warm: 128,
            idle_us: 5_000_000,
            evictions_a_tick: 4_096,
            standing_us: 120_000_000,
            lapsing_max: 65_536,
            rows_max: 4_096,
            effects_max: 16_384,
            damaged_max: 16_384,
            bucket_events: BUCKET_EVENTS,
        }
    }
}
