//! The row that names the log of the epoch in force: `epoch cluster topic`.
//!
//! It changes when an epoch is opened, once in a cluster's years, and by a condition, because two who
//! open one must not both believe that they did. What a condition decided is read where it was decided,
//! so an answer that was lost is no riddle to whoever reads next.

use super::Inner;
use super::{failure, schema};
use crate::epoch_store::{EpochStore, LogEpoch, LogIdentity};
use crate::error::StoreError;
use crate::send_while::SendWhile;

/// Its name in the table `meta`.
const NAME: &str = "log epoch";

impl EpochStore for super::ScyllaEvents {
    async fn log_epoch(&self) -> Result<Option<LogEpoch>, StoreError> {
        let Inner { requests, statements, .. } = self.inner.as_ref();
        let mut found = requests.read(&statements.read_meta, (NAME,), |(text,): (String,)| parse(&text)).await?;
        // Who opened the store before an import knows another incarnation than its clients are to hear of.
        // Read last: an import replaces it before it opens the epoch that a router can use.
        if self.inner.stored_incarnation().await? != Some(schema::incarnation_text(self.inner.incarnation)) {
            return Err(super::replaced());
        }
        Ok(found.pop())
    }

    async fn open_log_epoch(&self, after: Option<u32>, next: LogEpoch) -> Result<LogEpoch, StoreError> {
        next.check()?;
        let Inner { requests, statements, .. } = self.inner.as_ref();
        let stored = self.log_epoch().await?;
        if stored.as_ref().map(|stored| stored.epoch) == after && after.is_none_or(|after| after < next.epoch) {
            match &stored {
                None => requests.write(&statements.make_meta, vec![(NAME, text(&next))], &SendWhile::default()).await?,
                Some(stored) => {
                    let values = vec![(text(&next), NAME, text(stored))];
                    requests.write(&statements.change_meta, values, &SendWhile::default()).await?;
                }
            }
        } else if let Some(stored) = stored {
            return Ok(stored);
        }
        self.log_epoch().await?.ok_or_else(|| failure::unavailable("no epoch of the log is open yet"))
    }
}

fn text(LogEpoch { epoch, log: LogIdentity { cluster, topic } }: &LogEpoch) -> String {
    format!("{epoch} {cluster} {topic}")
}

fn parse(text: &str) -> Result<LogEpoch, StoreError> {
    let fields: Vec<&str> = text.split(' ').collect();
    let found = match fields[..] {
        [epoch, cluster, topic] => {
            let log = LogIdentity { cluster: cluster.into(), topic: topic.into() };
            epoch.parse().ok().map(|epoch| LogEpoch { epoch, log })
        }
        _ => None,
    };
    found.ok_or_else(|| failure::tables(format!("{text:?} is no epoch of a log")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_read_as_it_was_written_and_nothing_else_is_one() {
        let log = LogIdentity { cluster: "MkU3OEVBNTcwNTJENDM2Qk".into(), topic: "xGLmRZHqTgeZsAJLqCOCGA".into() };
        let epoch = LogEpoch { epoch: 7, log };
        assert_eq!(text(&epoch), "7 MkU3OEVBNTcwNTJENDM2Qk xGLmRZHqTgeZsAJLqCOCGA");
        assert_eq!(parse(&text(&epoch)).unwrap(), epoch);
        for text in ["", "7", "7 a", "x a b", "7 a b c", "-1 a b"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
