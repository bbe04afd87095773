//! Which API keys opened something in this process: the others' tries are counted.

use std::collections::HashSet;

use panda_storage::user_store::{API_KEYS_MAX, ApiKeyDigest};
use parking_lot::Mutex;

/// The keys that were good when they came last. This lets nobody in: each request asks the store, so a revoked key opens
/// nothing from then on. It only keeps those who try keys from taking the tries of those who have one.
#[derive(Debug, Default)]
pub(crate) struct Programs(Mutex<HashSet<ApiKeyDigest>>);

impl Programs {
    pub(crate) fn have(&self, digest: &ApiKeyDigest) -> bool {
        self.0.lock().contains(digest)
    }

    pub(crate) fn opened(&self, digest: ApiKeyDigest) {
        let mut known = self.0.lock();
        // Of keys that were revoked and did not come again some may be left.
        if known.len() >= API_KEYS_MAX {
            known.clear();
        }
        known.insert(digest);
    }

    pub(crate) fn refused(&self, digest: &ApiKeyDigest) {
        self.0.lock().remove(digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_than_a_deployment_has_keys() {
        let programs = Programs::default();
        for number in 0..API_KEYS_MAX + 10 {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            programs.opened(digest);
            assert!(programs.have(&digest) && programs.0.lock().len() <= API_KEYS_MAX);
            if number % 2 == 0 {
                programs.refused(&digest);
                assert!(!programs.have(&digest));
            }
        }
    }
}
