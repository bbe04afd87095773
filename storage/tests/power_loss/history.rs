//! Random writes of several tasks at once, through the store's own threads.

use std::sync::Arc;

use bytes::Bytes;
use panda_protocol::{Position, Seq, ShardId, Time};
use panda_storage::embedded::EmbeddedEvents;
use panda_storage::{Checkpoint, EventBatch, EventStore, OwedEffect, StateRow, StoreError};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use crate::promises::{CHATS, INBOXES, Promises, chat, command, inbox, row_keys, taking};

#[derive(Clone)]
pub(crate) struct History {
    store: EmbeddedEvents,
    promises: Arc<Mutex<Promises>>,
    /// Each inbox's last event; held while one is written, for at most one write of an entity is in flight.
    heads: Arc<Vec<tokio::sync::Mutex<u64>>>,
    /// Of each chat.
    commands: usize,
}

impl History {
    /// Writes until all is done or something fails; what was acknowledged is among the promises in
    /// either case.
    pub(crate) async fn run(
        store: &EmbeddedEvents,
        commands: usize,
        random: &mut StdRng,
        promises: &mut Promises,
    ) -> Result<(), StoreError> {
        let heads = (0..INBOXES).map(|number| tokio::sync::Mutex::new(promises.head(inbox(number)))).collect();
        let shared = Arc::new(Mutex::new(std::mem::take(promises)));
        let this = Self { store: store.clone(), promises: Arc::clone(&shared), heads: Arc::new(heads), commands };
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
        self.store.write_events(batch.clone()).await?;
        let rows = batch.rows.into_iter();
        self.promises.lock().events.extend(rows.map(|row| ((batch.entity, row.seq.0), row.event)));
        Ok(())
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
                self.store.write_state(chat(0), vec![row]).await?;
            }
            match random.random_range(0..4) {
                0 => {
                    self.store.sync_state().await?;
                    self.promises.lock().state_time = time;
                }
                1 => {
                    let offset = self.promises.lock().checkpoint + 1;
                    let checkpoint = Checkpoint { position: Position { epoch: 1, offset }, rules: 1 };
                    self.store.write_checkpoint(ShardId(0), checkpoint).await?;
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

/// Up to three sectors of bytes that no other event has.
fn text(random: &mut StdRng) -> Bytes {
    let len = if random.random_range(0..4) == 0 { 1_500 } else { 100 };
    (0..random.random_range(8..len)).map(|_| random.random::<u8>() | 0x80).collect()
}
