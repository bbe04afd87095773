//! How far links are told that everything was sent.

use std::collections::HashSet;
use std::panic::resume_unwind;

use super::super::Input;
use super::super::damage::tests::{LINK, at, command, go_on, resume, shard};
use super::*;
use crate::rulebook::Rulebook;

/// What the link is told after so many seconds.
fn watermark(shard: &mut Shard, seconds: u64) -> Option<Position> {
    shard.handle(Input::Tick(Time(seconds * 1_000_000)));
    go_on(shard, 100).into_iter().find_map(|output| match output {
        Output::Watermark(LINK, position) => Some(position),
        _ => None,
    })
}

/// Another owner may apply it, and finds who listens by the watermark.
#[test]
fn no_watermark_passes_a_command_on_which_the_rules_panicked() {
    let shard = &mut shard();
    resume(shard, LINK, 1);
    let [Output::ReadTail { tail, .. }] = go_on(shard, 6)[..] else { panic!("the tail is read") };
    shard.handle(Input::TailRead(tail, Some(HashSet::new())));
    command(shard, 6, 2, 1);
    go_on(shard, 7);
    assert_eq!(watermark(shard, 1), Some(at(7)));
    // No message: nobody is to look for a panic that a test makes.
    shard.rulebook.apply = |_, _, _, _, _| resume_unwind(Box::new(()));
    command(shard, 8, 1, 1);
    go_on(shard, 9);
    assert_eq!(shard.figures().panics, 1);
    shard.rulebook = Rulebook::default();
    command(shard, 9, 2, 2);
    go_on(shard, 10);
    assert_eq!(watermark(shard, 2), Some(at(8)));
    command(shard, 10, 2, 3);
    go_on(shard, 11);
    assert_eq!(watermark(shard, 3), None);
}
