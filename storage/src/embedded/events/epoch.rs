//! The epoch of a log that other processes share; the log in memory has epochs of its own.

use super::writer::Work;
use super::{EmbeddedEvents, Tables, keys};
use crate::epoch_store::{EpochStore, LogEpoch};
use crate::error::StoreError;

fn read(tables: &Tables) -> Result<Option<LogEpoch>, StoreError> {
    tables.value(keys::LOG_EPOCH)?.map(keys::read_log_epoch).transpose()
}

impl EpochStore for EmbeddedEvents {
    async fn log_epoch(&self) -> Result<Option<LogEpoch>, StoreError> {
        self.read(read).await
    }

    async fn open_log_epoch(&self, after: Option<u32>, next: LogEpoch) -> Result<LogEpoch, StoreError> {
        next.check()?;
        self.write(Work::LogEpoch(after, next)).await?;
        self.log_epoch().await?.ok_or_else(|| StoreError::Unavailable("no epoch of the log is open yet".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::folder::DataFolder;

    #[tokio::test]
    async fn the_store_keeps_the_contract_of_epochs() {
        let place = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        crate::contract::epochs::all(async || {
            number.set(number.get() + 1);
            let folder = DataFolder::open(&place.path().join(number.get().to_string())).unwrap();
            EmbeddedEvents::open(&folder).unwrap()
        })
        .await;
    }
}
