//! The journal: append-only files of commits. It is the point of durability.
//!
//! A file begins with a header and goes on with frames:
//!
//! ```text
//! header: "PNDJ" | version u32 | number u64 | salt u64 | base u64 | crc u32
//! frame:   "PNDF" | length u32 | synced u64 | crc u32 | operations
//! operation: 1 key_length u16 value_length u32 key value | 2 key_length u16 key
//! ```
//!
//! `base` is the length through which the file before this one counts. A sync that failed leaves what
//! was written in doubt for good, so nothing is ever appended behind it: the next file leaves it out.
//! The salt goes into every checksum, so that no frame of a file is taken for one of another.
//! `synced` is the length that was durable when the frame was written: a damaged frame before it was
//! acknowledged once, one behind it is only the torn end that a loss of power leaves.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::failure::{self, unusable};
use crate::embedded::disk::{DiskFile, Folder, SyncSite};
use crate::error::StoreError;

const VERSION: u32 = 1;
const HEADER_MAGIC: &[u8; 4] = b"PNDJ";
const HEADER_LEN: usize = 36;
const FRAME_MAGIC: &[u8; 4] = b"PNDF";
const FRAME_HEAD: usize = 20;
const NAME_PREFIX: &str = "journal-";
const PUT: u8 = 1;
const REMOVE: u8 = 2;

/// What one commit does to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) key: Bytes,
    /// Absent: removed.
    pub(super) value: Option<Bytes>,
}

/// The file that is written. `synced <= len`.
#[derive(Debug)]
pub(super) struct Journal {
    folder: Folder,
    file: Arc<dyn DiskFile>,
    number: u64,
    salt: u64,
    len: u64,
    synced: u64,
    /// What is written and not synced: the next file carries it if this one fails.
    unsynced: Vec<Operation>,
    unsynced_bytes: usize,
    /// Set by a write or sync that failed: nothing more goes into this file.
    failed: bool,
}

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Recovered {
    /// In the order they were committed.
    pub(super) operations: Vec<Operation>,
    /// The last file that counts, if there is one.
    last: Option<Last>,
}

#[derive(Debug)]
struct Last {
    number: u64,
    len: u64,
}

impl Recovered {
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }
}

/// Reads every file behind number `applied` and makes durable what it finds.
pub(super) fn recover(folder: &Folder, applied: u64) -> Result<Recovered, StoreError> {
    let mut numbers = file_numbers(folder).map_err(|error| failure::io(&error))?;
    numbers.retain(|number| *number > applied);
    numbers.sort_unstable();
    let mut recovered = Recovered::default();
    let mut segments = Vec::new();
    for (index, number) in numbers.iter().copied().enumerate() {
        let is_last = index + 1 == numbers.len();
        if number != applied + 1 + index as u64 {
            return Err(unusable(format!("journal file {} is missing", applied + 1 + index as u64)));
        }
        match Segment::read(folder, number)? {
            Some(segment) => segments.push(segment),
            // The power went while it was made: nothing in it was acknowledged.
            None if is_last => break,
            None => return Err(unusable(format!("the beginning of journal file {number} is damaged"))),
        }
    }
    let ends: Vec<_> = segments.iter().skip(1).map(|next| Some(next.base)).chain([None]).collect();
    for (segment, end) in segments.iter().zip(ends) {
        let found = segment.replay(end, &mut recovered.operations)?;
        if end.is_none() {
            segment.make_durable(&found).map_err(|error| failure::io(&error))?;
        }
        recovered.last = Some(Last { number: segment.number, len: found.len as u64 });
    }
    folder.sync_names(SyncSite::JournalRecoveredName).map_err(|error| failure::io(&error))?;
    Ok(recovered)
}

impl Journal {
    /// Begins the file behind what was recovered, or behind `applied` if there was nothing, with `first`.
    pub(super) fn begin(
        folder: Folder,
        recovered: &Recovered,
        applied: u64,
        first: Vec<Operation>,
    ) -> Result<Self, StoreError> {
        let (number, base) = recovered.last.as_ref().map_or((applied, 0), |last| (last.number, last.len));
        create(folder, number + 1, base, &first).map_err(|error| failure::io(&error))
    }

    /// Its file's number.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Appends one commit, and syncs it if `durable`. After an error the commit is in doubt until
    /// [`Self::mend`] succeeds: then it did not happen.
    pub(super) fn commit(&mut self, operations: &[Operation], durable: bool) -> io::Result<()> {
        if self.failed {
            // Another sync of this file may succeed without what the failed one was for.
            return Err(io::Error::other("an earlier write of the journal failed, and it is not mended yet"));
        }
        let result = self.try_commit(operations, durable);
        self.failed |= result.is_err();
        result
    }

    fn try_commit(&mut self, operations: &[Operation], durable: bool) -> io::Result<()> {
        if !operations.is_empty() {
            let frame = frame(self.salt, self.len, self.synced, operations)?;
            self.file.write_at(self.len, &frame)?;
            self.len += frame.len() as u64;
        }
        if durable && self.len > self.synced {
            self.file.sync(SyncSite::JournalCommit)?;
            self.synced = self.len;
            self.unsynced.clear();
            self.unsynced_bytes = 0;
        } else if self.len > self.synced {
            self.unsynced_bytes += operations.iter().map(Operation::len).sum::<usize>();
            self.unsynced.extend_from_slice(operations);
        }
        Ok(())
    }

    /// Bytes that a later sync is to make durable.
    pub(super) const fn unsynced_bytes(&self) -> usize {
        self.unsynced_bytes
    }

    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// After a failure: goes on in a new file, which leaves out what is in doubt.
    pub(super) fn mend(&mut self) -> io::Result<()> {
        self.next_file(self.synced)
    }

    /// Goes on in a new file; all that is in this one is durable then.
    pub(super) fn rotate(&mut self) -> io::Result<()> {
        self.commit(&[], true)?;
        self.next_file(self.len)
    }

    fn next_file(&mut self, base: u64) -> io::Result<()> {
        let next = create(self.folder.clone(), self.number + 1, base, &self.unsynced);
        // A file that was begun and is not whole is begun anew next time, under the same name.
        self.failed |= next.is_err();
        *self = next?;
        Ok(())
    }
}

/// Removes the files up to `number`; the index holds what is in them.
pub(super) fn remove_through(folder: &Folder, number: u64) -> io::Result<()> {
    let mut numbers = file_numbers(folder)?;
    numbers.sort_unstable();
    for number in numbers.into_iter().filter(|found| *found <= number) {
        folder.remove(&name(number))?;
    }
    Ok(())
}

fn create(folder: Folder, number: u64, base: u64, first: &[Operation]) -> io::Result<Journal> {
    let mut salt = [0; 8];
    SystemRandom::new().fill(&mut salt).map_err(|_| io::Error::other("the system gave no random bytes"))?;
    let salt = u64::from_be_bytes(salt);
    let mut bytes = BytesMut::with_capacity(HEADER_LEN);
    bytes.put_slice(HEADER_MAGIC);
    bytes.put_u32(VERSION);
    bytes.put_u64(number);
    bytes.put_u64(salt);
    bytes.put_u64(base);
    let crc = crc32fast::hash(&bytes);
    bytes.put_u32(crc);
    if !first.is_empty() {
        bytes.put_slice(&frame(salt, HEADER_LEN as u64, 0, first)?);
    }
    let file = folder.create(&name(number))?;
    file.write_at(0, &bytes)?;
    file.sync(SyncSite::JournalBegin)?;
    folder.sync_names(SyncSite::JournalName)?;
    let len = bytes.len() as u64;
    Ok(Journal { folder, file, number, salt, len, synced: len, unsynced: Vec::new(), unsynced_bytes: 0, failed: false })
}

fn name(number: u64) -> String {
    format!("{NAME_PREFIX}{number:016x}")
}

fn file_numbers(folder: &Folder) -> io::Result<Vec<u64>> {
    let names = folder.names()?;
    Ok(names.iter().filter_map(|name| u64::from_str_radix(name.strip_prefix(NAME_PREFIX)?, 16).ok()).collect())
}

impl Operation {
    pub(super) fn len(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

fn frame(salt: u64, offset: u64, synced: u64, operations: &[Operation]) -> io::Result<BytesMut> {
    let too_long = |_| io::Error::other("a commit is too long for the journal");
    let room: usize = operations.iter().map(|operation| operation.len() + 7).sum();
    let mut bytes = BytesMut::with_capacity(FRAME_HEAD + room);
    bytes.put_bytes(0, FRAME_HEAD);
    for operation in operations {
        bytes.put_u8(if operation.value.is_some() { PUT } else { REMOVE });
        bytes.put_u16(u16::try_from(operation.key.len()).map_err(too_long)?);
        if let Some(value) = &operation.value {
            bytes.put_u32(u32::try_from(value.len()).map_err(too_long)?);
        }
        bytes.put_slice(&operation.key);
        bytes.put_slice(operation.value.as_deref().unwrap_or_default());
    }
    let length = u32::try_from(bytes.len() - FRAME_HEAD).map_err(too_long)?;
    let crc = frame_crc(salt, offset, synced, &bytes[FRAME_HEAD..]);
    let mut head = &mut bytes[..FRAME_HEAD];
    head.put_slice(FRAME_MAGIC);
    head.put_u32(length);
    head.put_u64(synced);
    head.put_u32(crc);
    Ok(bytes)
}

fn frame_crc(salt: u64, offset: u64, synced: u64, operations: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&salt.to_be_bytes());
    crc.update(&offset.to_be_bytes());
    crc.update(&synced.to_be_bytes());
    crc.update(&(operations.len() as u64).to_be_bytes());
    crc.update(operations);
    crc.finalize()
}

/// How much of a file counts: `synced <= len`, and what is before `synced` was durable.
struct Replayed {
    len: usize,
    synced: usize,
}

/// A file that is read at the start.
struct Segment {
    file: Arc<dyn DiskFile>,
    number: u64,
    salt: u64,
    base: u64,
    bytes: Bytes,
}

impl Segment {
    /// None if its header is not there, or not whole.
    fn read(folder: &Folder, number: u64) -> Result<Option<Self>, StoreError> {
        let file = folder.open(&name(number)).map_err(|error| failure::io(&error))?;
        let len = file.len().map_err(|error| failure::io(&error))?;
        let len = usize::try_from(len).map_err(|_| unusable(format!("journal file {number} is too long")))?;
        let mut bytes = vec![0; len];
        file.read_at(0, &mut bytes).map_err(|error| failure::io(&error))?;
        let bytes = Bytes::from(bytes);
        if len < HEADER_LEN {
            return Ok(None);
        }
        let mut header = bytes.slice(HEADER_MAGIC.len()..HEADER_LEN);
        let (version, found, salt, base) = (header.get_u32(), header.get_u64(), header.get_u64(), header.get_u64());
        if !bytes.starts_with(HEADER_MAGIC) || crc32fast::hash(&bytes[..HEADER_LEN - 4]) != header.get_u32() {
            // A frame that knows of a sync tells that the header was durable once.
            return match (Self { file, number, salt, base, bytes }).was_synced_behind(0) {
                true => Err(unusable(format!("the beginning of journal file {number} is damaged"))),
                false => Ok(None),
            };
        }
        // Another file's number: its old blocks, and nothing of this one was written there.
        if found != number {
            return Ok(None);
        }
        if version > VERSION {
            return Err(StoreError::Newer { what: name(number), found: version, known: VERSION });
        }
        Ok(Some(Self { file, number, salt, base, bytes }))
    }

    /// Takes every whole frame up to `end`, or up to the torn end of the last file.
    fn replay(&self, end: Option<u64>, operations: &mut Vec<Operation>) -> Result<Replayed, StoreError> {
        let (mut offset, mut synced) = (HEADER_LEN, 0);
        while end.is_none_or(|end| (offset as u64) < end) {
            let Some((known, frame)) = self.frame_at(offset) else {
                if end.is_some() || self.was_synced_behind(offset) {
                    return Err(unusable(format!("journal file {} is damaged at byte {offset}", self.number)));
                }
                break;
            };
            // What a frame of the right checksum says was so.
            synced = known;
            offset += FRAME_HEAD + frame.len();
            read_operations(frame, operations)?;
        }
        if end.is_some_and(|end| end != offset as u64) {
            return Err(unusable(format!("journal file {} ends at byte {offset}, in a frame", self.number)));
        }
        Ok(Replayed { len: offset, synced: usize::try_from(synced).map_or(0, |synced| synced.min(offset)) })
    }

    /// Writes what no frame knows to be durable once more before it syncs: if a sync failed before this
    /// process began, the system may show what it dropped, and call another sync of it a success.
    fn make_durable(&self, found: &Replayed) -> io::Result<()> {
        self.file.write_at(found.synced as u64, &self.bytes[found.synced..found.len])?;
        self.file.sync(SyncSite::JournalRecovered)
    }

    /// The frame's `synced` and operations, if one is whole there.
    fn frame_at(&self, offset: usize) -> Option<(u64, Bytes)> {
        let head = self.bytes.get(offset..offset.checked_add(FRAME_HEAD)?)?;
        let mut fields = head.strip_prefix(FRAME_MAGIC)?;
        let (length, synced, crc) = (fields.get_u32(), fields.get_u64(), fields.get_u32());
        let start = offset + FRAME_HEAD;
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        let operations = self.bytes.get(start..end)?;
        (frame_crc(self.salt, offset as u64, synced, operations) == crc).then(|| (synced, self.bytes.slice(start..end)))
    }

    /// Whether a later frame knows that the byte at `offset` was durable.
    fn was_synced_behind(&self, offset: usize) -> bool {
        (offset + 1..self.bytes.len().saturating_sub(FRAME_HEAD))
            .filter(|at| self.bytes[*at..].starts_with(FRAME_MAGIC))
            .any(|at| self.frame_at(at).is_some_and(|(synced, _)| synced > offset as u64))
    }
}

fn read_operations(mut frame: Bytes, operations: &mut Vec<Operation>) -> Result<(), StoreError> {
    let malformed = || unusable("a commit in the journal has the wrong form".into());
    while frame.has_remaining() {
        let tag = frame.try_get_u8().map_err(|_| malformed())?;
        let key_len = usize::from(frame.try_get_u16().map_err(|_| malformed())?);
        let value_len = match tag {
            PUT => Some(frame.try_get_u32().map_err(|_| malformed())? as usize),
            REMOVE => None,
            _ => return Err(malformed()),
        };
        if frame.len() < key_len.saturating_add(value_len.unwrap_or(0)) {
            return Err(malformed());
        }
        let key = frame.split_to(key_len);
        let value = value_len.map(|len| frame.split_to(len));
        operations.push(Operation { key, value });
    }
    Ok(())
}
