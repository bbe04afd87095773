//! Where an operation may stop for ever, or go on behind others.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets others go first, once: every operation of the store is a place to stop at.
pub(super) struct Yield(pub(super) bool);

impl Future for Yield {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
