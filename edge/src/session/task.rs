//! Moves frames between a transport and its session until either ends.

use std::cell::RefCell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use panda_protocol::ErrorCode;
use panda_storage::command_log::CommandLog;
use tokio::time::{Sleep, sleep};

use super::{Ending, SessionKey};
use crate::transport::Transport;
use crate::worker::Core;

/// Frames taken from one peer before others have their turn.
const FRAMES_A_TURN: usize = 64;
/// How long a peer may take to read the rest and close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// One session's connection. It holds no buffer and no timer while the session lives.
pub(crate) struct SessionTask<L: CommandLog, T> {
    core: Rc<RefCell<Core<L>>>,
    key: SessionKey,
    transport: T,
    closing: Option<(ErrorCode, Pin<Box<Sleep>>)>,
}

impl<L: CommandLog, T: Transport + Unpin> SessionTask<L, T> {
    pub(crate) const fn new(core: Rc<RefCell<Core<L>>>, key: SessionKey, transport: T) -> Self {
        Self { core, key, transport, closing: None }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = Rc::clone(&self.core);
        let mut core = core.borrow_mut();
        core.watch(self.key, cx.waker());
        let ending = loop {
            let withheld = self.read(&mut core, cx);
            if let Err(error) = core.flush(self.key, cx, &mut self.transport) {
                core.broken(self.key, &error);
            }
            match core.ending(self.key) {
                // What was drained may have made room for what the session missed.
                None if core.catch_up(self.key) => {}
                // So may the peer's frames that were left unread: nobody else wakes this task for them.
                None if withheld && core.wants_frames(self.key).is_some() => {}
                None => return Poll::Pending,
                Some(ending) => break ending,
            }
        };
        drop(core);
        match ending {
            Ending::Gone => Poll::Ready(()),
            Ending::Left => self.close(ErrorCode::Going, cx),
            Ending::Bye(close) => self.close(close.code, cx),
        }
    }

    /// Returns whether frames were left unread because the session wants none now.
    fn read(&mut self, core: &mut Core<L>, cx: &mut Context<'_>) -> bool {
        for _ in 0..FRAMES_A_TURN {
            let Some(bytes_max) = core.wants_frames(self.key) else { return true };
            match self.transport.poll_recv(cx, bytes_max) {
                Poll::Pending => {
                    if self.transport.heard() {
                        core.alive(self.key);
                    }
                    return false;
                }
                Poll::Ready(Ok(frame)) => core.hear(self.key, frame),
                Poll::Ready(Err(error)) => {
                    core.broken(self.key, &error);
                    return false;
                }
            }
        }
        cx.waker().wake_by_ref();
        false
    }

    fn close(&mut self, code: ErrorCode, cx: &mut Context<'_>) -> Poll<()> {
        let (code, timeout) = self.closing.get_or_insert_with(|| (code, Box::pin(sleep(CLOSE_TIMEOUT))));
        let mut core = self.core.borrow_mut();
        // An error here means that the peer is gone, which is what closing is for.
        let drained = core.flush(self.key, cx, &mut self.transport).is_err() || core.is_drained(self.key);
        if drained && self.transport.poll_close(cx, *code).is_ready() {
            return Poll::Ready(());
        }
        timeout.as_mut().poll(cx)
    }
}

impl<L: CommandLog, T: Transport + Unpin> Future for SessionTask<L, T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let stepped = catch_unwind(AssertUnwindSafe(|| match &this.closing {
            Some((code, _)) => {
                let code = *code;
                this.close(code, cx)
            }
            None => this.step(cx),
        }));
        stepped.unwrap_or_else(|_| {
            this.core.borrow().metrics.panics.inc();
            tracing::error!("a session was closed after a panic");
            Poll::Ready(())
        })
    }
}

impl<L: CommandLog, T> Drop for SessionTask<L, T> {
    /// However the connection ends, nothing of the session stays behind.
    fn drop(&mut self) {
        if let Ok(mut core) = self.core.try_borrow_mut() {
            core.remove(self.key);
        }
    }
}
