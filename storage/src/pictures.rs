//! Pictures of people, which the API made of what they sent: small files in a folder, or in a bucket of an object store
//! that speaks S3.
//!
//! A picture is written before anybody is told its name, and what is under a name never changes. What a crash leaves
//! between the two is under its user's name, and leaves with that user's next picture.

mod bucket;
mod name;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tokio::time::timeout;

pub use bucket::BucketConfig;
pub use name::{PictureFormat, PictureName};
use panda_protocol::UserId;

use crate::error::StoreError;
use crate::private;

/// Bytes of a picture that is kept.
pub const PICTURE_BYTES_MAX: usize = 1024 * 1024;
/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Where pictures are kept; clones share it.
#[derive(Clone, Debug)]
pub struct PictureStore {
    objects: Arc<dyn ObjectStore>,
}

impl PictureStore {
    /// In a folder of this machine, which is made if it is not there. What is written is synced.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`]: it cannot be made or opened.
    pub fn in_folder(folder: &Path) -> Result<Self, StoreError> {
        let refused = |error: &dyn std::fmt::Display| {
            StoreError::Misconfigured(format!("pictures cannot be kept in {}: {error}", folder.display()))
        };
        private::make_folder(folder).map_err(|error| refused(&error))?;
        let files = LocalFileSystem::new_with_prefix(folder).map_err(|error| refused(&error))?;
        Ok(Self { objects: Arc::new(files.with_fsync(true).with_automatic_cleanup(true)) })
    }

    /// In a bucket, which is there. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`StoreError::Misconfigured`]: what is configured names none.
    pub fn in_bucket(config: &BucketConfig) -> Result<Self, StoreError> {
        Ok(Self { objects: Arc::new(config.open()?) })
    }

    /// Keeps a picture. Repeating it changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Limit`] above [`PICTURE_BYTES_MAX`]; otherwise as the store failed.
    pub async fn put(&self, name: &PictureName, bytes: Bytes) -> Result<(), StoreError> {
        if bytes.len() > PICTURE_BYTES_MAX {
            return Err(StoreError::Limit(format!("a picture may have at most {PICTURE_BYTES_MAX} bytes")));
        }
        let key = key(name);
        within(self.objects.put(&key, bytes.into())).await.map(drop)
    }

    /// Reads a picture; none: there is none of this name.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`]: other bytes are under this name than were written; otherwise as the store failed.
    pub async fn get(&self, name: &PictureName) -> Result<Option<Bytes>, StoreError> {
        let key = key(name);
        let reading = async {
            let found = self.objects.get(&key).await?;
            if found.meta.size > PICTURE_BYTES_MAX as u64 { Ok(Bytes::new()) } else { found.bytes().await }
        };
        let bytes = match timeout(CALL_TIMEOUT, reading).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(object_store::Error::NotFound { .. })) => return Ok(None),
            Ok(Err(error)) => return Err(of(&error)),
            Err(_) => return Err(too_slow()),
        };
        if name.names(&bytes) {
            Ok(Some(bytes))
        } else {
            Err(StoreError::Corrupt(format!("the picture {name} is not what was written")))
        }
    }

    /// Removes a picture; that it is not there is no error.
    ///
    /// # Errors
    /// As the store failed.
    pub async fn remove(&self, name: &PictureName) -> Result<(), StoreError> {
        within(self.delete(&key(name))).await
    }

    /// Removes all pictures of a user. Returns how many there were.
    ///
    /// # Errors
    /// As the store failed; some may be gone then.
    pub async fn remove_all(&self, user: UserId) -> Result<usize, StoreError> {
        self.remove_where(user, |_| true).await
    }

    /// Removes what crashes and other processes left of a user: all pictures but this one that were written before a time,
    /// in seconds since 1970. A younger one may be another process's, whose user is about to be given its name.
    ///
    /// # Errors
    /// As the store failed; some may be gone then.
    pub async fn remove_left(&self, kept: &PictureName, before_unix_s: u64) -> Result<usize, StoreError> {
        let (name, before) = (key(kept), i64::try_from(before_unix_s).unwrap_or(i64::MAX));
        let is_left = |meta: &ObjectMeta| meta.location != name && meta.last_modified.timestamp() < before;
        self.remove_where(kept.user(), is_left).await
    }

    async fn remove_where(&self, user: UserId, is_meant: impl Fn(&ObjectMeta) -> bool) -> Result<usize, StoreError> {
        let of_user = Key::from(user.to_string());
        let removing = async {
            let found: Vec<_> = self.objects.list(Some(&of_user)).try_collect().await?;
            let meant = found.iter().filter(|meta| is_meant(meta));
            let mut removed = 0;
            for meta in meant {
                self.delete(&meta.location).await?;
                removed += 1;
            }
            Ok(removed)
        };
        within(removing).await
    }

    /// Another process may remove the same one.
    async fn delete(&self, key: &Key) -> object_store::Result<()> {
        match self.objects.delete(key).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            done => done,
        }
    }
}

fn key(name: &PictureName) -> Key {
    Key::from_iter([name.user().to_string(), name.file()])
}

async fn within<T>(call: impl Future<Output = object_store::Result<T>>) -> Result<T, StoreError> {
    timeout(CALL_TIMEOUT, call).await.map_err(|_| too_slow())?.map_err(|error| of(&error))
}

fn too_slow() -> StoreError {
    StoreError::Unavailable(format!("pictures: no answer within {} s", CALL_TIMEOUT.as_secs()))
}

/// What the caller can do about an error of the store.
fn of(error: &object_store::Error) -> StoreError {
    let text = format!("pictures: {error}");
    match error {
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            StoreError::Misconfigured(text)
        }
        _ if is_full(error) => StoreError::Full(text),
        _ => StoreError::Unavailable(text),
    }
}

/// Whether the disk of a folder has no room left, which stands somewhere below the error.
fn is_full(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests;
