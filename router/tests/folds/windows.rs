use panda_protocol::limits::WINDOW_COMMANDS;
use panda_protocol::{Counter, ErrorCode, Position, Seq};
use panda_router::fold::Decision;

use super::log::{Log, add, code, command, group, say};

#[test]
fn a_resend_answers_as_the_first_time_until_the_window_has_moved_on() {
    let mut log = Log::with_group();
    let window = WINDOW_COMMANDS as u64;
    for counter in 1..=window {
        log.numbered(2, group(), counter, counter - 1, &say(&counter.to_string())).expect("in order");
    }
    assert_eq!(log.numbered(2, group(), 1, 0, &say("1")), Err(Decision::Duplicate(Seq(5))));
    assert_eq!(code(log.numbered(2, group(), 1, 0, &say("2"))), ErrorCode::CounterReused);
    log.numbered(2, group(), window + 1, window, &say("x")).expect("in order");
    assert_eq!(code(log.numbered(2, group(), 1, 0, &say("1"))), ErrorCode::OutOfOrder);
}

#[test]
fn a_resend_of_several_events_names_the_first() {
    let mut log = Log::with_group();
    let body = add(panda_protocol::event::Role::Member, &[4, 5]);
    assert_eq!(log.numbered(1, group(), 2, 1, &body).expect("in order").len(), 2);
    assert_eq!(log.numbered(1, group(), 2, 1, &body), Err(Decision::Duplicate(Seq(5))));
}

#[test]
fn what_does_not_follow_names_the_last_applied_command() {
    let mut log = Log::with_group();
    log.numbered(2, group(), 5, 0, &say("x")).expect("any number comes first");
    for (counter, after) in [(4, 0), (7, 6), (6, 0), (9, 8)] {
        let Err(Decision::Rejected(rejection)) = log.numbered(2, group(), counter, after, &say("y")) else {
            panic!("it does not follow")
        };
        let details = rejection.details.expect("it says how to go on");
        assert_eq!((rejection.code, details.counter, details.seq), (ErrorCode::OutOfOrder, Counter(5), Seq(5)));
    }
    log.numbered(2, group(), 9, 5, &say("y")).expect("a gap is allowed if it is named");
}

#[test]
fn a_record_that_was_applied_is_skipped_and_still_answered() {
    let mut log = Log::with_group();
    let record = command(2, group(), 1, 0, &say("x"));
    log.record(&record).expect("in order");
    let early = Position { epoch: 1, offset: 1 };
    assert_eq!(log.record_at(&record, early), Err(Decision::Duplicate(Seq(5))));
    assert_eq!(log.record_at(&command(2, group(), 2, 1, &say("y")), early), Err(Decision::AlreadyApplied));
    let next_epoch = Position { epoch: 2, offset: 0 };
    log.record_at(&command(2, group(), 2, 1, &say("y")), next_epoch).expect("a later epoch is later");
}
