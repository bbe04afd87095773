//! Every statement that is run while Panda works, prepared once.

use scylla::client::session::Session;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::statement::unprepared::Statement;

use super::failure;
use crate::entity_store::Copies;
use crate::error::StoreError;

/// Rows in one answer of the cluster. Statements have limits below it; an answer may still be cut
/// where it grows too large.
const PAGE_ROWS: i32 = 1_000;

/// A statement that reads, and the same for all copies.
pub(super) struct Read {
    enough: PreparedStatement,
    all: PreparedStatement,
}

impl Read {
    fn new(enough: PreparedStatement) -> Self {
        let mut all = enough.clone();
        all.set_consistency(Consistency::All);
        Self { enough, all }
    }

    pub(super) fn of(&self, copies: Copies) -> &PreparedStatement {
        match copies {
            Copies::Enough => &self.enough,
            Copies::All => &self.all,
        }
    }
}

pub(super) struct Statements {
    pub(super) write_event: PreparedStatement,
    pub(super) read_forward: Read,
    pub(super) read_backward: Read,
    pub(super) bucket_exists: PreparedStatement,
    pub(super) partitions: Read,
    pub(super) write_state: PreparedStatement,
    pub(super) read_state: PreparedStatement,
    pub(super) scan_state: PreparedStatement,
    pub(super) write_checkpoint: PreparedStatement,
    pub(super) read_checkpoint: PreparedStatement,
    pub(super) read_meta: PreparedStatement,
    pub(super) make_meta: PreparedStatement,
    pub(super) change_meta: PreparedStatement,
}

impl Statements {
    pub(super) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, StoreError> {
        let prepare = async |text: &str| {
            let mut statement = Statement::new(text.replace("{keyspace}", keyspace));
            // Each write carries its own time, so that a second one changes nothing.
            statement.set_is_idempotent(true);
            statement.set_page_size(PAGE_ROWS);
            session.prepare(statement).await.map_err(|error| failure::prepare(&error))
        };
        // Where conditions are decided, as the session's profile says.
        let mut read_meta = prepare("SELECT value FROM {keyspace}.meta WHERE name = ?").await?;
        read_meta.set_consistency(Consistency::LocalSerial);
        Ok(Self {
            read_meta,
            // Whoever repeats one whose answer was lost finds that it was decided.
            make_meta: prepare("INSERT INTO {keyspace}.meta (name, value) VALUES (?, ?) IF NOT EXISTS").await?,
            change_meta: prepare("UPDATE {keyspace}.meta SET value = ? WHERE name = ? IF value = ?").await?,
            write_event: prepare(
                "INSERT INTO {keyspace}.events \
                 (entity, bucket, seq, epoch, log_offset, command_index, command_count, event) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            read_forward: Read::new(
                prepare(
                    "SELECT seq, epoch, log_offset, command_index, command_count, WRITETIME(event), event \
                     FROM {keyspace}.events WHERE entity = ? AND bucket = ? AND seq >= ? ORDER BY seq ASC LIMIT ?",
                )
                .await?,
            ),
            read_backward: Read::new(
                prepare(
                    "SELECT seq, epoch, log_offset, command_index, command_count, WRITETIME(event), event \
                     FROM {keyspace}.events WHERE entity = ? AND bucket = ? AND seq <= ? ORDER BY seq DESC LIMIT ?",
                )
                .await?,
            ),
            partitions: Read::new(
                prepare(
                    "SELECT DISTINCT entity, bucket FROM {keyspace}.events WHERE token(entity, bucket) >= ? LIMIT ?",
                )
                .await?,
            ),
            bucket_exists: prepare("SELECT seq FROM {keyspace}.events WHERE entity = ? AND bucket = ? LIMIT 1").await?,
            write_state: prepare(
                "INSERT INTO {keyspace}.state (entity, slot, kind, key, value) VALUES (?, ?, ?, ?, ?) \
                 USING TIMESTAMP ?",
            )
            .await?,
            read_state: prepare(
                "SELECT kind, key, value, WRITETIME(value) FROM {keyspace}.state \
                 WHERE entity = ? AND slot = ? AND (kind, key) IN ?",
            )
            .await?,
            scan_state: prepare(
                "SELECT kind, key, value, WRITETIME(value) FROM {keyspace}.state \
                 WHERE entity = ? AND slot = ? AND kind = ? AND key >= ? ORDER BY kind ASC, key ASC LIMIT ?",
            )
            .await?,
            write_checkpoint: prepare(
                "INSERT INTO {keyspace}.checkpoints \
                 (shard, epoch, log_offset, rules, last_offset, last_time, last_digest) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            read_checkpoint: prepare(
                "SELECT epoch, log_offset, rules, last_offset, last_time, last_digest, WRITETIME(last_digest) \
                 FROM {keyspace}.checkpoints WHERE shard = ? LIMIT 1",
            )
            .await?,
        })
    }
}
