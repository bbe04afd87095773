//! The lines of the log about records of sampled traces: how long each step took. Spans are lines so far.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use panda_protocol::link::Outcome;
use panda_protocol::{ShardId, Time};
use panda_storage::{Appender, TRACE_TARGET};

use crate::shard::TracedRecord;

/// Whether such lines are written in this process.
pub(crate) fn are_told() -> bool {
    tracing::enabled!(target: TRACE_TARGET, tracing::Level::INFO)
}

/// A record was released. `now` is of the core's clock.
pub(crate) fn released(router: u64, shard: ShardId, record: &TracedRecord, now: Time) {
    let TracedRecord { context, from, entity, position, logged, decided, stored, again, outcome } = record;
    let micros = |to: &Time, from: &Time| to.0.saturating_sub(from.0);
    // The log's clock may be another machine's, and Kafka's has milliseconds.
    let in_log = wall_clock().0.saturating_sub(micros(&now, decided)).saturating_sub(logged.0);
    let (seq, code) = match outcome {
        Some(Outcome::Applied(seq)) => (Some(seq.0), None),
        Some(Outcome::Rejected(rejection)) => (None, Some(rejection.code.label())),
        None => (None, None),
    };
    tracing::info!(
        target: TRACE_TARGET,
        trace_id = %context.trace_id(),
        parent_span = %context.parent_span(),
        from = from.map(tracing::field::display),
        router = %Appender::Router(router),
        shard = shard.0,
        %entity,
        %position,
        seq,
        code,
        again = again.then_some(true),
        log_to_decided_us = in_log,
        decided_to_stored_us = micros(stored, decided),
        stored_to_released_us = micros(&now, stored),
        "a traced record was released"
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "the log's times are of a wall clock; nothing is decided by what is said"
)]
fn wall_clock() -> Time {
    let since: Duration = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
