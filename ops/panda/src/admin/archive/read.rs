//! Reading an archive, record by record, with everything that can be told of each checked on the way.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use panda_protocol::Seq;
use ring::digest::{Context, SHA256};

use super::{ArchiveDigest, Counts, Header, MAGIC, RECORD_BYTES_MAX, RECORD_HEAD, Record, VERSION, records};

/// Why an archive was not read. Each text says what to do.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum ArchiveError {
    /// The file cannot be read.
    #[error("read {path}: {cause}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is something else.
    #[error("{0} is no export: name a file that 'panda admin export' wrote")]
    Other(PathBuf),
    /// It has a version that this program does not know.
    #[error(
        "{path} is an export of version {found}, and this program knows versions up to {}: take a newer panda",
        VERSION
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// It is not what was written.
    #[error("{path} is damaged at byte {at}: {why}. Copy it again, or export again")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Where the record begins that is not right.
        at: u64,
        /// What is not.
        why: &'static str,
    },
}

/// An archive that is being read. Nothing of it may be relied on before [`Self::next`] has come to its end.
pub(in super::super) struct Reading {
    path: PathBuf,
    file: BufReader<File>,
    digest: Context,
    counts: Counts,
    /// Bytes read.
    at: u64,
    order: Order,
    header: Option<Header>,
    ended: Option<ArchiveDigest>,
}

/// Which records may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Nothing,
    Header,
    SigningKeys,
    ApiKeys,
    Users,
    /// Its last event.
    Events(Seq),
    Rows,
}

impl Reading {
    /// Opens an archive.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(in super::super) fn open(path: &Path) -> Result<Self, ArchiveError> {
        let opened = File::open(path)
            .and_then(|file| if file.metadata()?.is_dir() { Err(ErrorKind::IsADirectory.into()) } else { Ok(file) });
        let file = opened.map_err(|cause| ArchiveError::File { path: path.to_owned(), cause })?;
        Self::begin(path, file)
    }

    /// The same file from its beginning, whatever has its name by now.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(in super::super) fn again(self) -> Result<Self, ArchiveError> {
        let mut file = self.file.into_inner();
        let rewound = file.rewind();
        rewound.map_err(|cause| ArchiveError::File { path: self.path.clone(), cause })?;
        Self::begin(&self.path, file)
    }

    fn begin(path: &Path, file: File) -> Result<Self, ArchiveError> {
        let (order, counts) = (Order::Nothing, Counts::default());
        let (file, digest) = (BufReader::new(file), Context::new(&SHA256));
        let mut this = Self { path: path.to_owned(), file, digest, counts, at: 0, order, header: None, ended: None };
        let mut begin = [0; 16];
        let other = |error| match error {
            ArchiveError::Damaged { path, .. } => ArchiveError::Other(path),
            error => error,
        };
        this.take(0, &mut begin).map_err(other)?;
        let (magic, version) = begin.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(ArchiveError::Other(this.path));
        }
        let found = version.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        if found > VERSION {
            return Err(ArchiveError::Newer { path: this.path, found });
        }
        if found != VERSION {
            return Err(ArchiveError::Other(this.path));
        }
        Ok(this)
    }

    /// The next record; none at the end, behind a trailer that fits everything before it.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(in super::super) fn next(&mut self) -> Result<Option<Record>, ArchiveError> {
        let at = self.at;
        if self.ended.is_some() {
            return Ok(None);
        }
        let before = self.digest.clone();
        let mut head = [0; RECORD_HEAD];
        self.take(at, &mut head)?;
        let length = head[1..].iter().fold(0, |number, byte| number << 8 | usize::from(*byte));
        if length > RECORD_BYTES_MAX {
            return Err(self.damaged(at, "a record has no such length"));
        }
        let mut body = vec![0; length];
        self.take(at, &mut body)?;
        let mut crc = [0; 4];
        self.take(at, &mut crc)?;
        let mut expected = crc32fast::Hasher::new();
        expected.update(&head);
        expected.update(&body);
        if crc != expected.finalize().to_be_bytes() {
            return Err(self.damaged(at, "a record has another checksum"));
        }
        if head[0] == records::TRAILER {
            self.trailer(at, &before, body.into())?;
            return Ok(None);
        }
        let record = Record::from_bytes(head[0], body.into());
        let record = record.map_err(|_| self.damaged(at, "a record has another form"))?;
        self.counts.add(&record);
        self.check(at, &record)?;
        Ok(Some(record))
    }

    /// Reads what is left, to know that the archive is whole.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub(in super::super) fn finish(&mut self) -> Result<(Header, Counts, ArchiveDigest), ArchiveError> {
        while self.next()?.is_some() {}
        match (self.header, self.ended) {
            (Some(header), Some(digest)) => Ok((header, self.counts, digest)),
            _ => Err(self.damaged(self.at, "it has no header")),
        }
    }

    /// Whether a record may stand here.
    fn check(&mut self, at: u64, record: &Record) -> Result<(), ArchiveError> {
        let next = match (record, self.order) {
            (Record::Header(header), Order::Nothing) => {
                self.header = Some(*header);
                Order::Header
            }
            (Record::SigningKey(_), Order::Header | Order::SigningKeys) => Order::SigningKeys,
            (Record::ApiKey(_), Order::Header | Order::SigningKeys | Order::ApiKeys) => Order::ApiKeys,
            (Record::User(_), Order::Header | Order::SigningKeys | Order::ApiKeys | Order::Users) => Order::Users,
            // An entity without events is none.
            (Record::Entity(_), order) if order != Order::Nothing && order != Order::Events(Seq(0)) => {
                Order::Events(Seq(0))
            }
            (Record::Event(row), Order::Events(last)) if row.seq == last.next() => {
                if self.header.is_some_and(|header| row.position.epoch > header.epoch) {
                    return Err(self.damaged(at, "an event is of a later epoch than the header says"));
                }
                Order::Events(row.seq)
            }
            (Record::Row(_), Order::Events(last)) if last > Seq(0) => Order::Rows,
            (Record::Row(_), Order::Rows) => Order::Rows,
            _ => return Err(self.damaged(at, "a record stands where none of its kind may be")),
        };
        self.order = next;
        Ok(())
    }

    fn trailer(&mut self, at: u64, before: &Context, body: Bytes) -> Result<(), ArchiveError> {
        let (counts, digest) =
            records::read_trailer(body).map_err(|_| self.damaged(at, "the trailer has another form"))?;
        if before.clone().finish().as_ref() != digest.0 {
            return Err(self.damaged(at, "what stands before the trailer has another SHA-256"));
        }
        if counts != self.counts || matches!(self.order, Order::Nothing | Order::Events(Seq(0))) {
            return Err(self.damaged(at, "the trailer counts other records"));
        }
        match self.file.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(self.damaged(self.at, "something follows the trailer")),
            Err(cause) => return Err(ArchiveError::File { path: self.path.clone(), cause }),
        }
        self.ended = Some(digest);
        Ok(())
    }

    /// Fills `into`, of a record that begins at `at`.
    fn take(&mut self, at: u64, into: &mut [u8]) -> Result<(), ArchiveError> {
        match self.file.read_exact(into) {
            Ok(()) => {
                self.digest.update(into);
                self.at += into.len() as u64;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(self.damaged(at, "it ends here")),
            Err(cause) => Err(ArchiveError::File { path: self.path.clone(), cause }),
        }
    }

    fn damaged(&self, at: u64, why: &'static str) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.clone(), at, why }
    }
}
