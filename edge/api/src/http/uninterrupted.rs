//! Work that goes on to its end, whoever hangs up.

use panda_protocol::ErrorCode;

use super::problem::{Answer, Problem};

/// Runs on a task of its own what a change is not whole without: a caller who hangs up ends the task that answers, and what comes
/// behind the store's commit, such as letting others see it or telling the user by mail, would be left undone.
///
/// # Errors
/// Those of the work. `outcome_unknown`: it broke, and whether anything was changed is not known.
pub(crate) async fn uninterrupted<T: Send + 'static>(
    work: impl Future<Output = Answer<T>> + Send + 'static,
) -> Answer<T> {
    tokio::spawn(work).await.map_err(|_| Problem::new(ErrorCode::OutcomeUnknown))?
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_goes_on_when_whoever_waits_is_gone() {
        let (go, going) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let mut waiting = Box::pin(uninterrupted(async move {
            going.await.ok();
            done.send("done").ok();
            Ok(())
        }));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(waiting);
        go.send(()).unwrap();
        assert_eq!(is_done.await, Ok("done"));
    }
}
