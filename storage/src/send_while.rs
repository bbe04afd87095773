//! What must hold when a write is sent.

use std::fmt;
use std::sync::Arc;

use crate::error::StoreError;

/// Says whether a write may be sent now. Clones are the same; the usual one always says yes.
#[derive(Clone, Default)]
pub struct SendWhile(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl SendWhile {
    /// As `may` says. It is asked often, and must not wait.
    pub fn new(may: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(may)))
    }

    /// To be asked right before a write is sent, behind all that it waited for.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if it must not be sent.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.0.as_ref().is_none_or(|may| may()) {
            return Ok(());
        }
        Err(StoreError::Unavailable("a write waited until it must not be sent any more".into()))
    }
}

impl fmt::Debug for SendWhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendWhile").finish_non_exhaustive()
    }
}
