//! Random writes of several tasks at once, through the store's own threads.

use std::sync::Arc;

use bytes::Bytes;
use panda_protocol::{Seq, ShardId, Time};
use panda_storage::embedded::EmbeddedEvents;
use panda_storage::{EventBatch, EventStore, OwedEffect, ReadOrder, StateRow, StoreError};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::promises::{CHATS, INBOXES, Promises, chat, checkpoint, command, inbox, row_keys, taking};

#[derive(Clone)]
pub(crate) struct History {
    store: EmbeddedEvents,
    promises: Arc<Mutex<Promises>>,
    /// Each inbox's last event; held while one is written, for at most one write of an entity is in flight.
    heads: Arc<Vec<tokio::sync::Mutex<u64>>>,
    /// Of each chat.
    commands: usize,
    /// How often a call is made again that was refused and may work later.
    tries: usize,
}

impl History {
    /// Writes until all is done or something fails; what was acknowledged is among the promises in
    /// either case.
    pub(crate) async fn run(
        store: &EmbeddedEvents,
        commands: usize,
        tries: usize,
        random: &mut StdRng,
        promises: &mut Promises,
    ) -> Result<(), StoreError> {
        let heads = (0..INBOXES).map(|number| tokio::sync::Mutex::new(promises.head(inbox(number)))).collect();
        let shared = Arc::new(Mutex::new(std::mem::take(promises)));
        let heads = Arc::new(heads);
        let this = Self { store: store.clone(), promises: Arc::clone(&shared), heads, commands, tries };
        let mut tasks = JoinSet::new();
        for number in 0..CHATS {
            tasks.spawn_local(this.clone().talk(number, StdRng::seed_from_u64(random.random())));
        }
        tasks.spawn_local(this.keep(StdRng::seed_from_u64(random.random())));
        let results = tasks.join_all().await;
        *promises = shared.lock().clone();
        results.into_iter().collect()
    }

    async fn write(&self, batch: EventBatch) -> Result<(), StoreError> {
        patiently(self.tries, async || {
            let written = self.store.write_events(batch.clone()).await;
            if written.is_err() {
                self.is_absent(&batch).await;
            }
            written
        })
        .await?;
        let rows = batch.rows.into_iter();
        self.promises.lock().events.extend(rows.map(|row| ((batch.entity, row.seq.0), row.event)));
        Ok(())
    }

    /// What was refused is not shown: it is stored once it is asked for again, or found at the next start.
    async fn is_absent(&self, batch: &EventBatch) {
        let read = self.store.read_events(batch.entity, batch.rows[0].seq, ReadOrder::Forward, 1, usize::MAX).await;
        match read {
            Ok(rows) => assert!(rows.is_empty(), "{rows:?} was refused and is shown"),
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
    }

    /// One chat's commands, one after the other.
    async fn talk(self, number: u8, mut random: StdRng) -> Result<(), StoreError> {
        let source = chat(number);
        let mut head = self.promises.lock().head(source);
        for _ in 0..self.commands {
            let first = head + 1;
            if random.random() {
                let target = random.random_range(0..INBOXES);
                let what = if random.random() { "add" } else { "remove" };
                let event = Bytes::from(format!("{what} {target} by event {first} of {number}"));
                self.change(OwedEffect { source, source_seq: Seq(first), target: inbox(target), event }, target)
                    .await?;
                head += 1;
            } else {
                let events: Vec<_> = (0..random.random_range(1..5)).map(|_| text(&mut random)).collect();
                head += events.len() as u64;
                self.write(command(source, first, events)).await?;
            }
        }
        Ok(())
    }

    /// An event that changes an inbox, and the inbox's.
    async fn change(&self, owed: OwedEffect, target: u8) -> Result<(), StoreError> {
        let event = command(owed.source, owed.source_seq.0, vec![owed.event.clone()]);
        self.write(EventBatch { owes: vec![owed.clone()], ..event }).await?;
        let mut head = self.heads[usize::from(target)].lock().await;
        self.write(taking(&owed, *head + 1)).await?;
        *head += 1;
        Ok(())
    }

    /// State rows and checkpoints.
    async fn keep(self, mut random: StdRng) -> Result<(), StoreError> {
        let mut time = self.promises.lock().state_time;
        for _ in 0..self.commands {
            time += 1;
            for key in row_keys() {
                let value = Some(text(&mut random));
                let row = StateRow { key, value, time: Time(time) };
                patiently(self.tries, async || self.store.write_state(chat(0), vec![row.clone()]).await).await?;
            }
            match random.random_range(0..4) {
                0 => {
                    patiently(self.tries, async || self.store.sync_state().await).await?;
                    self.promises.lock().state_time = time;
                }
                1 => {
                    let offset = self.promises.lock().checkpoint + 1;
                    let checkpoint = checkpoint(offset);
                    let write = async || self.store.write_checkpoint(ShardId(0), checkpoint).await;
                    patiently(self.tries, write).await?;
                    let mut promises = self.promises.lock();
                    promises.checkpoint = offset;
                    // A durable write takes what was written before it along.
                    promises.state_time = time;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Makes a call again that was refused and may work later, at most so many times.
pub(crate) async fn patiently<T>(
    tries: usize,
    mut call: impl AsyncFnMut() -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let mut left = tries;
    loop {
        match call().await {
            Err(error) if error.is_retryable() && left > 0 => left -= 1,
            result => return result,
        }
        // Another thread may have to try again first.
        std::thread::yield_now();
        tokio::task::yield_now().await;
    }
}

/// Up to three sectors of bytes that no other event has.
fn text(random: &mut StdRng) -> Bytes {
    let len = if random.random_range(0..4) == 0 { 1_500 } else { 100 };
    (0..random.random_range(8..len)).map(|_| random.random::<u8>() | 0x80).collect()
}
