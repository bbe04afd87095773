//! How long a shard stays this router's: from its assignment until it is revoked or the router stops.

use tokio::sync::watch;

/// A shard's tenure, as its terms see it; cloning sees the same one.
#[derive(Clone, Debug)]
pub(crate) struct Tenure(watch::Receiver<bool>);

/// Ends a tenure; so does dropping it.
#[derive(Debug)]
pub(crate) struct TenureHolder(watch::Sender<bool>);

impl Tenure {
    /// A tenure that lasts until its holder ends it.
    pub(crate) fn begin() -> (TenureHolder, Self) {
        let (end, over) = watch::channel(false);
        (TenureHolder(end), Self(over))
    }

    /// Resolves once the shard is to be finished. Cancel safe.
    pub(crate) async fn over(&mut self) {
        // An error says the same: its holder is gone.
        drop(self.0.wait_for(|over| *over).await);
    }
}

impl TenureHolder {
    pub(crate) fn end(&self) {
        self.0.send_replace(true);
    }
}
