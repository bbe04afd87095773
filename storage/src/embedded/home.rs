//! What tells a data folder from a copy of it.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use bytes::{BufMut as _, Bytes, BytesMut};

/// When the file was made, and its number: no copy has both, and no tool sets the first. The device's number is left out,
/// because it may be another one after each start of the machine. None where the file system does not know when a file was
/// made: its numbers may be others each time that it is mounted.
pub(super) fn of(file: &Path) -> io::Result<Option<Bytes>> {
    let found = fs::metadata(file)?;
    let made = match found.created() {
        Ok(made) => made.duration_since(UNIX_EPOCH).map_err(io::Error::other)?,
        Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut home = BytesMut::with_capacity(20);
    home.put_u64(made.as_secs());
    home.put_u32(made.subsec_nanos());
    home.put_u64(found.ino());
    Ok(Some(home.freeze()))
}
