//! Which log the commands of an epoch are in: kept beside the events, because they hold its positions.

use std::future::Future;
use std::time::Duration;

use crate::error::StoreError;

/// A router that owns shards reads which epoch is open at least so often, as far as the store answers: somebody may
/// open one who did not see that it came to the group.
pub const EPOCH_READ_EVERY: Duration = Duration::from_secs(5);
/// Bytes of each name in a [`LogIdentity`].
pub const LOG_IDENTITY_BYTES_MAX: usize = 64;

/// A log, as its brokers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The cluster's ID.
    pub cluster: String,
    /// The topic's ID: another one if the topic is removed and made anew.
    pub topic: String,
}

/// The cluster of a log that is no log, but an archive from which the positions came.
const ARCHIVE: &str = "archive";

impl LogIdentity {
    /// Of an archive that is being imported: its positions are of the epoch that is in force meanwhile, so
    /// that no router owns a shard before the next one is opened, with which the import ends.
    pub fn of_archive(digest: String) -> Self {
        Self { cluster: ARCHIVE.into(), topic: digest }
    }

    /// The digest of the archive that is being imported, if this is one.
    pub fn archive(&self) -> Option<&str> {
        (self.cluster == ARCHIVE).then_some(&self.topic)
    }
}

/// An epoch of the command log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEpoch {
    /// Its number.
    pub epoch: u32,
    /// Its log.
    pub log: LogIdentity,
}

impl LogEpoch {
    /// What every store insists on.
    ///
    /// # Errors
    /// [`StoreError::Limit`] for an identity that is empty, too long or not plain text.
    pub fn check(&self) -> Result<(), StoreError> {
        let plain = |name: &str| {
            (1..=LOG_IDENTITY_BYTES_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if plain(&self.log.cluster) && plain(&self.log.topic) {
            return Ok(());
        }
        Err(StoreError::Limit(format!("{:?} does not identify a log", self.log)))
    }
}

/// What an event store knows of the log whose positions it holds. Every event store of a cluster is one.
pub trait EpochStore: Clone + Send + Sync + 'static {
    /// The epoch that is in force; none before the first was opened.
    ///
    /// # Errors
    /// [`StoreError`].
    fn log_epoch(&self) -> impl Future<Output = Result<Option<LogEpoch>, StoreError>> + Send;

    /// Opens an epoch, if the one in force is still `after` and the new one is higher. Answers with the
    /// one that is in force then, which is another if somebody else was faster. It never goes back, and
    /// survives what a stored event survives.
    ///
    /// # Errors
    /// After an error it may or may not have been opened; repeating the call is harmless.
    /// [`StoreError::Limit`] for what [`LogEpoch::check`] refuses.
    fn open_log_epoch(
        &self,
        after: Option<u32>,
        next: LogEpoch,
    ) -> impl Future<Output = Result<LogEpoch, StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_told_from_a_log() {
        let digest = "0123456789abcdef".repeat(4);
        let archive = LogIdentity::of_archive(digest.clone());
        assert_eq!(archive.archive(), Some(&*digest));
        LogEpoch { epoch: 7, log: archive }.check().unwrap();
        let log = LogIdentity { cluster: "MkU3OEVBNTcwNTJENDM2Qk".into(), topic: digest };
        assert_eq!(log.archive(), None);
    }
}
