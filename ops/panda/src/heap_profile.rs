//! Who holds how much of the heap: with the feature `heap-profile`, an allocator that notes each allocation's call.
//!
//! The profile is of everything that a role allocates from its start on, and is written when the role is asked to stop,
//! before it gives anything back: what it tells of the end is what serving took. It says how many bytes were asked for,
//! not what an allocator takes for them, and makes the process several times slower.

use std::path::PathBuf;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Names the file; `dhat-heap.json` in the working folder if it is not set.
const FILE: &str = "PANDA_HEAP_PROFILE";
/// Calls that are told of each allocation: futures within futures are deep.
const FRAMES: usize = 40;

/// Notes all allocations until it is dropped, which writes the file; that it could not is said on standard error.
pub(crate) fn begin() -> dhat::Profiler {
    let file = std::env::var_os(FILE).map_or_else(|| PathBuf::from("dhat-heap.json"), PathBuf::from);
    dhat::Profiler::builder().file_name(file).trim_backtraces(Some(FRAMES)).build()
}
