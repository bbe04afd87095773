//! Reads the store back by pages and compares.

use std::sync::Arc;

use panda_client::{Client, HistoryPage, RequestError};
use panda_protocol::event::peek_seq;
use panda_protocol::frame::Direction;
use panda_protocol::limits::PAGE_EVENTS_MAX;
use panda_protocol::{EntityId, Seq};
use tokio::time::Instant;

use crate::run::{Run, RunError};
use crate::session::{Session, repeats, wait};

/// Chats that are read back at a time.
pub const CHATS_AT_ONCE: usize = 16;

/// Reads chat `number` from its first event to its head with a member's session.
///
/// # Errors
/// [`RunError::Unreachable`] if pages are refused beyond the run's patience.
pub async fn read_back(run: &Arc<Run>, session: &Session, number: usize) -> Result<(), RunError> {
    let mut from = Seq(1);
    loop {
        let HistoryPage { begins_at, head, events, .. } = page(run, session.client(), number, from).await?;
        let mut last = None;
        for event in &events {
            // Bytes that are no event have no seq of their own; the checker says what they are.
            let seq = peek_seq(event).unwrap_or_else(|_| last.map_or(from, Seq::next));
            run.check(number).stored(seq.0, event);
            last = Some(seq);
        }
        match last {
            // A page that does not move on would be asked for forever.
            Some(last) if last >= from && last < head => from = last.next(),
            _ => {
                run.check(number).history_read(begins_at.0, head.0);
                return Ok(());
            }
        }
    }
}

/// A page of chat `number` from `from` on, asked for again while it is refused for now.
///
/// # Errors
/// [`RunError::Unreachable`] if it is refused beyond the run's patience, or for good.
pub async fn page(run: &Run, client: &Client, number: usize, from: Seq) -> Result<HistoryPage, RunError> {
    let until = Instant::now() + run.patience;
    let entity = EntityId::from(run.chats[number]);
    loop {
        let asked = client.page(entity, Direction::Forward, from, PAGE_EVENTS_MAX as u64);
        let error: RequestError = match tokio::time::timeout_at(until, asked).await {
            Ok(Ok(page)) => return Ok(page),
            Ok(Err(error)) => error,
            Err(_) => {
                return Err(RunError::Unreachable(format!("a page did not come within {:?}", run.patience)));
            }
        };
        if !repeats(&error) || Instant::now() >= until {
            return Err(RunError::Unreachable(format!("a page of chat {} was refused: {error}", run.chats[number])));
        }
        tokio::time::sleep(wait(&error)).await;
    }
}
