//! Where pictures of people are kept.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use panda_storage::PictureStore;
use panda_storage::pictures::BucketConfig;
use serde::{Deserialize, Serialize};

/// A folder, or a bucket of an object store that speaks S3. `panda serve` keeps them in its data folder where neither is
/// named; the API of a cluster keeps none then, as its processes share nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PicturesConfig {
    /// The folder; in a cluster all processes with an API see the same one.
    pub(crate) folder: PathBuf,
    /// The bucket, which is there.
    pub(crate) bucket: String,
    /// Where the object store is, as `https://host[:port]`; empty: Amazon's.
    pub(crate) endpoint: String,
    /// Its region.
    pub(crate) region: String,
    /// The name of the access key.
    pub(crate) access_key_id: String,
    /// A file with the access key.
    pub(crate) secret_key_file: PathBuf,
}

impl Default for PicturesConfig {
    fn default() -> Self {
        Self {
            folder: PathBuf::new(),
            bucket: String::new(),
            endpoint: String::new(),
            region: "us-east-1".to_owned(),
            access_key_id: String::new(),
            secret_key_file: PathBuf::new(),
        }
    }
}

impl PicturesConfig {
    /// The store that is configured; none: no pictures are kept.
    ///
    /// # Errors
    /// It cannot be used; says why.
    pub(crate) fn store(&self, otherwise: Option<&Path>) -> anyhow::Result<Option<PictureStore>> {
        if !self.bucket.is_empty() {
            let config = BucketConfig {
                bucket: self.bucket.clone(),
                endpoint: self.endpoint.clone(),
                region: self.region.clone(),
                access_key_id: self.access_key_id.clone(),
                secret_key: self.secret_key()?,
            };
            return Ok(Some(PictureStore::in_bucket(&config)?));
        }
        let folder = if self.folder.as_os_str().is_empty() { otherwise } else { Some(self.folder.as_path()) };
        Ok(folder.map(PictureStore::in_folder).transpose()?)
    }

    /// The access key of the bucket.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub(crate) fn secret_key(&self) -> anyhow::Result<String> {
        let path = self.secret_key_file.display();
        let text =
            std::fs::read_to_string(&self.secret_key_file).with_context(|| format!("read the access key in {path}"))?;
        let key = text.trim_end_matches(['\r', '\n']);
        anyhow::ensure!(!key.is_empty(), "there is no access key in {path}");
        Ok(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_comes_before_a_folder_and_nothing_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let (named, otherwise) = (folder.path().join("named"), folder.path().join("otherwise"));
        let nothing = PicturesConfig::default();
        assert!(nothing.store(None).unwrap().is_none());
        assert!(nothing.store(Some(&otherwise)).unwrap().is_some() && otherwise.is_dir());
        let config = PicturesConfig { folder: named.clone(), ..PicturesConfig::default() };
        assert!(config.store(Some(&otherwise)).unwrap().is_some() && named.is_dir());
        let bucket = PicturesConfig {
            bucket: "pictures".into(),
            access_key_id: "panda".into(),
            secret_key_file: folder.path().join("key"),
            ..PicturesConfig::default()
        };
        let refused = format!("{:#}", bucket.store(None).unwrap_err());
        assert!(refused.starts_with("read the access key in /"), "{refused}");
        std::fs::write(&bucket.secret_key_file, "sesame\n").unwrap();
        assert!(bucket.store(None).unwrap().is_some());
    }
}
