//! What became of sends that were acked, each told once.

use super::*;

#[test]
fn what_happened_to_a_send_is_told_by_when_it_was_acked_or_else_due() {
    let harmed = |run: Run| run.verdict().harmed;
    let mut lost = Run::new();
    lost.events.pop();
    lost.store();
    assert_eq!(harmed(lost), [Harmed { how: Harm::Lost, at: ACKED }]);
    let mut doubled = Run::new();
    doubled.events.push(message(9, 2, 2, "d"));
    doubled.store();
    assert_eq!(harmed(doubled), [Harmed { how: Harm::Doubled, at: ACKED }]);
    let mut reordered = Run::new();
    reordered.events[0] = message(5, 1, 2, "c");
    reordered.events[2] = message(7, 1, 1, "a");
    reordered.check.answered(reordered.sends[0], Outcome::Unknown, AT);
    reordered.check.answered(reordered.sends[2], Outcome::Acked(5), AT);
    reordered.store();
    assert_eq!(harmed(reordered), [Harmed { how: Harm::Reordered, at: DUE }], "nobody knows when it would have been");
    let mut whole = Run::new();
    whole.store();
    assert_eq!(harmed(whole), []);
    let of = [Harm::Lost, Harm::Doubled, Harm::Lost].map(|how| Harmed { how, at: AT });
    assert_eq!(Losses::of(&of).to_string(), "2 lost, 1 doubled");
    assert!(Losses::of(&[]).is_none());
}

#[test]
fn a_send_that_sessions_got_and_the_store_does_not_have_is_lost_and_one_that_it_has_otherwise_is_altered() {
    let delivered = || {
        let mut run = Run::new();
        run.deliver(1, 5..=8);
        run.deliver(2, 5..=8);
        run
    };
    let harmed = |run: Run| {
        let verdict = run.verdict();
        (verdict.harmed, verdict.violations)
    };
    let one = |how| (vec![Harmed { how, at: ACKED }], 1);
    let mut gone = delivered();
    gone.events.pop();
    gone.store();
    assert_eq!(harmed(gone), one(Harm::Lost));
    let mut replaced = delivered();
    replaced.events[3] = message(8, 3, 1, "of somebody else");
    replaced.store();
    assert_eq!(harmed(replaced), one(Harm::Lost));
    let mut moved = delivered();
    moved.events[3] = message(9, 2, 2, "d");
    moved.store();
    assert_eq!(harmed(moved), one(Harm::Lost), "bytes of another seq are no event of this one");
    let mut altered = delivered();
    altered.events[3] = message(8, 2, 2, "otherwise");
    altered.store();
    assert_eq!(harmed(altered), one(Harm::Altered));
    let mut unknown = delivered();
    unknown.check.answered(unknown.sends[3], Outcome::Unknown, AT);
    unknown.events.pop();
    unknown.store();
    assert_eq!(harmed(unknown), (vec![Harmed { how: Harm::Lost, at: DUE }], 1), "somebody saw it");
    let mut others = delivered();
    others.events[3] = message(8, 3, 1, "of somebody else");
    others.check.answered(others.sends[3], Outcome::Refused(2000), AT);
    others.store();
    assert_eq!(harmed(others), (vec![Harmed { how: Harm::RefusedButThere, at: DUE }], 2), "it was not to be there");
    let mut late = delivered();
    late.store();
    late.check.submitted(1, device(1), Counter(3), b"late", DUE);
    late.events.push(message(9, 1, 3, "late"));
    late.deliver(1, [9]);
    late.deliver(2, [9]);
    assert_eq!(harmed(late), (Vec::new(), 0), "what came behind the reading may be there");
    assert_eq!(harmed(delivered()), (Vec::new(), 0), "what was not read back is not missing");
}

#[test]
fn a_send_that_is_altered_twice_is_told_once() {
    let mut run = Run::new();
    run.events[1] = message(6, 2, 1, "b ");
    run.deliver(1, 5..=8);
    run.deliver(2, 5..=8);
    run.events[1] = message(6, 2, 1, "b");
    run.store();
    let verdict = run.verdict();
    assert_eq!(verdict.harmed, [Harmed { how: Harm::Altered, at: ACKED }]);
    assert_eq!(verdict.violations, 2, "what sessions saw is not what was sent, nor what the store has");
}
