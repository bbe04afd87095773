//! What becomes of commands.

use super::*;

#[test]
fn sixty_four_commands_wait_and_no_more() {
    let mut session = opened();
    for waiter in 0..64 {
        session.submit(chat().into(), say("x"), waiter).unwrap();
    }
    assert_eq!(session.submit(chat().into(), say("x"), 64), Err((64, ErrorCode::TooManyInFlight)));
    let went = commands(&sent(&mut session, 0));
    assert_eq!(went.len(), 64);
    assert_eq!((went[0].1, went[0].2, went[63].1, went[63].2), (100, 0, 163, 162));
    hear(&mut session, Ack { request: went[0].0, seq: Seq(1) }, 1);
    assert!(session.has_room(chat().into()));
}

#[test]
fn a_command_has_its_trace_context_again_whenever_it_is_sent_again() {
    let trace = TraceContext::new([7; 16], [3; 8], 1);
    let mut session = opened();
    session.submit_traced(chat().into(), say("a"), trace, 1).unwrap();
    session.submit(chat().into(), say("b"), 2).unwrap();
    for now_ms in [0, 700] {
        let frames = sent(&mut session, now_ms);
        let traces: Vec<_> = frames
            .iter()
            .filter_map(|frame| if let Frame::Command(command) = frame { Some(command.trace) } else { None })
            .collect();
        assert_eq!(traces, [trace, None]);
        for (request, ..) in commands(&frames) {
            let refused = ErrorReply::new(request, ErrorCode::RateLimited).retry_after_ms(700);
            hear(&mut session, refused, now_ms);
        }
        session.tick(now_ms + 700);
    }
}

#[test]
fn a_body_that_would_break_the_connection_is_refused_here() {
    let mut session = opened();
    let large = say(&"x".repeat(70_000));
    assert_eq!(session.submit(chat().into(), large, 1), Err((1, ErrorCode::TooLarge)));
    assert!(sent(&mut session, 0).is_empty());
}

#[test]
fn a_device_that_was_used_before_goes_on_behind_the_named_counter() {
    let mut session = opened();
    session.submit(chat().into(), say("a"), 1).unwrap();
    session.submit(chat().into(), say("b"), 2).unwrap();
    let went = commands(&sent(&mut session, 0));
    let details = Some(ErrorDetails { counter: Counter(40), seq: Seq(4) });
    for (request, ..) in &went {
        hear(&mut session, ErrorReply { details, ..ErrorReply::new(*request, ErrorCode::OutOfOrder) }, 1);
    }
    let again = commands(&sent(&mut session, 1));
    assert_eq!(again.iter().map(|(_, counter, after)| (*counter, *after)).collect::<Vec<_>>(), [(100, 40), (101, 100)]);
}

#[test]
fn a_counter_below_the_named_one_is_asked_about_once_and_new_ones_are_above() {
    let mut session = opened();
    session.submit(chat().into(), say("a"), 1).unwrap();
    let details = Some(ErrorDetails { counter: Counter(500), seq: Seq(4) });
    for round in 0..2 {
        let went = commands(&sent(&mut session, 0));
        assert_eq!((went.len(), went[0].1, went[0].2), (1, 100, 0), "round {round}: unchanged");
        hear(&mut session, ErrorReply { details, ..ErrorReply::new(went[0].0, ErrorCode::OutOfOrder) }, 1);
    }
    assert!(matches!(&answers(&mut session)[..], [(1, Err(refusal))] if refusal.code == ErrorCode::OutOfOrder as u16));
    assert_eq!(session.submit(chat().into(), say("b"), 2), Ok(Counter(501)));
    assert_eq!(commands(&sent(&mut session, 0))[0].2, 500);
}

#[test]
fn a_refused_request_is_repeated_after_the_wait() {
    let mut session = opened();
    session.ask(Question::ChatInfo(chat()), 1);
    session.submit(chat().into(), say("a"), 2).unwrap();
    for frame in sent(&mut session, 0) {
        let request = match frame {
            Frame::ChatInfo(info) => info.request,
            Frame::Command(command) => command.request,
            other => panic!("{other:?}"),
        };
        hear(&mut session, ErrorReply::new(request, ErrorCode::RateLimited).retry_after_ms(700), 10);
    }
    let entity = chat().into();
    let told = Notice::Repeating { entity, counter: Counter(100), code: 2001, retry_after_ms: 700 };
    assert_eq!(notices(&mut session), [told], "of the command; a question's refusal concerns nobody");
    assert!(sent(&mut session, 10).is_empty());
    assert_eq!(session.due_ms(), Some(710));
    session.tick(710);
    let kinds: Vec<u8> = sent(&mut session, 710).iter().map(Frame::kind).collect();
    assert_eq!(kinds.len(), 2);
    assert!(kinds.contains(&0x10) && kinds.contains(&0x26));
}

#[test]
fn commands_that_come_back_together_are_repeated_after_one_wait() {
    let mut session = opened();
    for text in ["a", "b", "c", "d"] {
        session.submit(chat().into(), say(text), 1).unwrap();
    }
    let (mut now_ms, mut waits) = (1, Vec::new());
    for _ in 0..3 {
        for frame in sent(&mut session, now_ms) {
            let Frame::Command(command) = frame else { panic!("{frame:?}") };
            hear(&mut session, ErrorReply::new(command.request, ErrorCode::OutcomeUnknown), now_ms);
        }
        let due_ms = session.due_ms().expect("they go out again");
        waits.push(due_ms - now_ms);
        now_ms = due_ms;
        session.tick(now_ms);
    }
    assert_eq!(waits, [50, 100, 200]);
}

#[test]
fn a_group_is_named_by_its_counter_and_needs_a_user() {
    let mut session = ClientSession::<u32>::new(parameters());
    let early = session.create_group(Text::from("g"), Vec::new(), 1);
    assert_eq!(early, Err((1, ErrorCode::Unavailable)));
    let mut session = opened();
    let (group, counter) = session.create_group(Text::from("g"), Vec::new(), 1).unwrap();
    assert_eq!(group, ChatId::group(user(), device(), counter));
    let went = commands(&sent(&mut session, 0));
    assert_eq!((went[0].1, went[0].2), (counter.0, 0));
    hear(&mut session, Ack { request: went[0].0, seq: Seq(1) }, 1);
    session.submit(group.into(), say("first"), 2).unwrap();
    assert_eq!(commands(&sent(&mut session, 1))[0].2, counter.0, "the window is the group's");
}
