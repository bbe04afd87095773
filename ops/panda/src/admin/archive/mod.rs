//! The file in which everything that a deployment keeps moves to another one.
//!
//! ```text
//! "panda export" | version u32 | records
//! record: kind u8 | length u32 | body | CRC-32 of all that, u32        (numbers are big-endian)
//! order:  header, signing keys, API keys, users,
//!         then of each chat and inbox: its identifier, its events rising from 1, its state rows;
//!         trailer: how many of each, and the SHA-256 of everything before it
//! ```
//!
//! An archive is whole or it is none: the trailer comes last, the file takes its name once it is synced,
//! and whoever reads it looks at the trailer before anything is done. Rows are as the event store has them,
//! deleted ones too. It holds hashes of passwords, digests of those API keys that open something, and signing keys that are sealed
//! under the fleet secret, which is not in it; only its owner may read the file. That an address was proven is not in it,
//! nor links that were sent: where it is read, addresses are proven anew. Nor is that an account was put aside or erased: one
//! that was erased comes without name, address and password, under a name that stands for nobody, and the name that it had is
//! free there. Nor are logins in it, nor as whom users log in at other providers: `CONFIG.md` tells operators what
//! that means for accounts without a password.

mod read;
mod records;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;

use panda_protocol::{EntityId, Incarnation, Time};
use panda_storage::user_store::{ApiKey, Credential, SealedSigningKey};
use panda_storage::{EventRow, StateRow};

pub(super) use self::read::Reading;
pub(super) use self::write::Writing;

const MAGIC: &[u8; 12] = b"panda export";
/// The version that this program writes, and the newest that it reads.
const VERSION: u32 = 1;
/// Bytes of a record's body. The largest there is, an event, has a tenth of it.
const RECORD_BYTES_MAX: usize = 256 * 1024;
/// Kind and length.
const RECORD_HEAD: usize = 5;

/// What the archive is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The event store's incarnation, which goes on: cursors of clients stay good.
    pub(super) incarnation: Incarnation,
    /// No position in it is of a higher epoch of the log.
    pub(super) epoch: u32,
    /// The highest rules version in force in any shard.
    pub(super) rules: u16,
    /// When it was written.
    pub(super) made: Time,
}

/// How many of what an archive has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Signing keys.
    pub(super) signing_keys: u64,
    /// API keys.
    pub(super) api_keys: u64,
    /// Users.
    pub(super) users: u64,
    /// Chats and inboxes.
    pub(super) entities: u64,
    /// Events of all of them.
    pub(super) events: u64,
    /// State rows of all of them.
    pub(super) rows: u64,
}

impl Counts {
    const fn add(&mut self, record: &Record) {
        match record {
            Record::Header(_) => {}
            Record::SigningKey(_) => self.signing_keys += 1,
            Record::ApiKey(_) => self.api_keys += 1,
            Record::User(_) => self.users += 1,
            Record::Entity(_) => self.entities += 1,
            Record::Event(_) => self.events += 1,
            Record::Row(_) => self.rows += 1,
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { users, entities, events, rows, api_keys, signing_keys } = self;
        write!(
            out,
            "{users} users, {entities} chats and inboxes with {events} events and {rows} state rows, {api_keys} API \
             keys, {signing_keys} signing keys"
        )
    }
}

/// The SHA-256 of an archive up to its trailer: what one archive is told from another by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ArchiveDigest([u8; 32]);

impl fmt::Display for ArchiveDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// One record before the trailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Once, first.
    Header(Header),
    /// One of those that are read; newest first.
    SigningKey(SealedSigningKey),
    /// A key of a program.
    ApiKey(ApiKey),
    /// A user and its password's hash, in the order of identifiers.
    User(Credential),
    /// A chat or inbox begins.
    Entity(EntityId),
    /// Its next event.
    Event(EventRow),
    /// One of its state rows.
    Row(StateRow),
}
