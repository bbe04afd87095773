//! Writing an archive: beside its name first, which it takes when it is whole and synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use ring::digest::{Context, SHA256};

use super::{ArchiveDigest, Counts, MAGIC, RECORD_BYTES_MAX, RECORD_HEAD, Record, VERSION, records};

/// An archive that is being written. Dropped before its end, it leaves a file `….partial`, which the next one
/// replaces.
pub(in super::super) struct Writing {
    path: PathBuf,
    partial: PathBuf,
    file: BufWriter<File>,
    digest: Context,
    counts: Counts,
}

impl Writing {
    /// Begins an archive.
    ///
    /// # Errors
    /// There is a file of this name, or it cannot be written.
    pub(in super::super) fn begin(path: &Path) -> anyhow::Result<Self> {
        ensure!(!path.exists(), "{} is there already: name another file, or move it away", path.display());
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let made = || -> io::Result<File> {
            match fs::remove_file(&partial) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)
        };
        let file = made().with_context(|| format!("write {}", partial.display()))?;
        let (path, counts) = (path.to_owned(), Counts::default());
        let mut this = Self { path, partial, file: BufWriter::new(file), digest: Context::new(&SHA256), counts };
        this.put(MAGIC)?;
        this.put(&VERSION.to_be_bytes())?;
        Ok(this)
    }

    /// Adds a record.
    ///
    /// # Errors
    /// It cannot be written, or is larger than a record may be.
    pub(in super::super) fn add(&mut self, record: &Record) -> anyhow::Result<()> {
        self.counts.add(record);
        let (kind, body) = record.to_bytes();
        self.record(kind, &body)
    }

    /// Ends the archive. It survives the loss of power when this returns.
    ///
    /// # Errors
    /// It cannot be written.
    pub(in super::super) fn end(mut self) -> anyhow::Result<(Counts, ArchiveDigest)> {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.digest.clone().finish().as_ref());
        let digest = ArchiveDigest(digest);
        let trailer = records::trailer(&self.counts, digest);
        self.record(records::TRAILER, &trailer)?;
        let ended = || -> io::Result<()> {
            let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&self.partial, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
        };
        let path = self.path.clone();
        ended().with_context(|| format!("write {}", path.display()))?;
        Ok((self.counts, digest))
    }

    fn record(&mut self, kind: u8, body: &[u8]) -> anyhow::Result<()> {
        ensure!(body.len() <= RECORD_BYTES_MAX, "a record of {} bytes is larger than an archive takes", body.len());
        let length = u32::try_from(body.len()).context("the length of a record")?;
        let mut head = [kind, 0, 0, 0, 0];
        head[1..RECORD_HEAD].copy_from_slice(&length.to_be_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head);
        crc.update(body);
        self.put(&head)?;
        self.put(body)?;
        self.put(&crc.finalize().to_be_bytes())
    }

    fn put(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.digest.update(bytes);
        self.file.write_all(bytes).with_context(|| format!("write {}", self.partial.display()))
    }
}
