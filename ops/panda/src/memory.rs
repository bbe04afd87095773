//! The allocator, and what a process at rest gives back to the system.
//!
//! It takes no huge pages (`no_thp`): a process of many threads fills a little of each of two MiB, and an edge without sessions
//! took 40 MiB instead of 5. What is freed goes back to the system after a second, but only once somebody allocates or
//! frees again, and where nothing happens nobody does: the 19 MiB that a password's hash takes would stay for ever.

#![allow(unsafe_code, reason = "the crate that brings the allocator has no safe way to this")]

#[cfg(not(feature = "heap-profile"))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[cfg(not(feature = "heap-profile"))]
unsafe extern "C" {
    /// Of mimalloc: gives back what was freed long enough ago, of all threads; with `force`, all that is free.
    safe fn mi_collect(force: bool);
}

/// Gives back what was freed a second ago or longer. Takes next to no time where there is nothing; call it now and then.
pub(crate) fn give_back() {
    #[cfg(not(feature = "heap-profile"))]
    mi_collect(false);
}

#[cfg(test)]
#[cfg(not(feature = "heap-profile"))]
mod tests {
    use std::time::{Duration, Instant};

    /// Bytes of this process that are in memory and no file's.
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the allocator knows no clock but the system's")]
    fn what_a_thread_freed_goes_back_though_nobody_allocates_again() {
        const MANY: usize = 64 << 20;
        // While it is there: it may go back at once, where other threads allocate.
        let take = || {
            let taken = std::hint::black_box(vec![1_u8; MANY]);
            let with_it = resident();
            drop(taken);
            with_it
        };
        let (with_it, began) = (std::thread::spawn(take).join().unwrap(), Instant::now());
        assert!(with_it >= MANY as u64, "it was taken");
        while resident() + (MANY as u64 / 2) > with_it && began.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(100));
            super::give_back();
        }
        assert!(resident() + (MANY as u64 / 2) <= with_it, "it never went back");
    }
}
