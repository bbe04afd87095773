//! What an edge says of a command that somebody follows: how long the log took to confirm it, and how long its sender
//! waited. A command without a context costs a look at an option.

use panda_protocol::link::{LinkId, Rejection};
use panda_protocol::{EntityId, Position, Seq, TraceContext};
use panda_storage::{Appender, TRACE_TARGET};
use tokio::time::Instant;

/// A command in a context, on its way. The moments are for its line in the log; nothing is decided by them.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) context: TraceContext,
    began: Instant,
    append_began: Option<Instant>,
    /// Where the log confirmed it, and after how many microseconds.
    appended: Option<(Position, u64)>,
}

impl Traced {
    /// A command that came just now.
    pub(crate) fn new(context: TraceContext) -> Self {
        Self { context, began: Instant::now(), append_began: None, appended: None }
    }

    /// Whether anybody is to hear of it.
    pub(crate) fn is_told(&self) -> bool {
        self.context.is_sampled() && tracing::enabled!(target: TRACE_TARGET, tracing::Level::INFO)
    }

    /// It is handed to the log.
    pub(crate) fn append(&mut self) {
        self.append_began = Some(Instant::now());
    }

    /// The log confirmed it.
    pub(crate) fn appended(&mut self, position: Position) {
        self.appended = self.append_began.map(|began| (position, micros(began)));
    }

    /// Its sender is answered now.
    pub(crate) fn answered(&self, link: LinkId, entity: EntityId, outcome: &Result<Seq, Rejection>) {
        let (seq, code) = match outcome {
            Ok(seq) => (Some(seq.0), None),
            Err(rejection) => (None, Some(rejection.code.label())),
        };
        tracing::info!(
            target: TRACE_TARGET,
            trace_id = %self.context.trace_id(),
            parent_span = %self.context.parent_span(),
            edge = %Appender::Edge(link),
            %entity,
            position = self.appended.map(|(position, _)| tracing::field::display(position)),
            seq,
            code,
            append_us = self.appended.map(|(_, took)| took),
            total_us = micros(self.began),
            "a traced command was answered"
        );
    }
}

/// How long it is since then.
fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}
