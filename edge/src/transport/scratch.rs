//! One read buffer a thread, lent to whichever connection has something to read.

use std::cell::RefCell;

/// Bytes that one read takes at most.
pub(super) const READ_BYTES: usize = 16 * 1024;

/// Bytes of input after which a connection lets others run.
pub(super) const INPUT_TURN_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Lends the thread's read buffer to `read`. Nothing of it may be kept, and it is not lent twice.
pub(super) fn with_scratch<T>(read: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| read(scratch))
}
