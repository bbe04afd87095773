use clap::CommandFactory as _;

use super::*;

#[test]
fn the_command_line_is_sound_and_takes_common_flags_behind_the_scenario() {
    Cli::command().debug_assert();
    let line = "panda-loadtest steady --sessions 10 --chats 2 --rate 5 --duration 3s --target http://a --target http://b --seed 7 --transport ws";
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    assert_eq!(cli.common.targets, ["http://a", "http://b"]);
    assert_eq!((cli.common.seed, cli.common.transport), (Some(7), Transport::Ws));
    assert!(matches!(cli.scenario, Scenario::Steady(Steady { sessions: 10, chats: 2, rate: 5, .. })));
}

#[test]
fn nonsense_is_refused() {
    for line in [
        "panda-loadtest",
        "panda-loadtest steady --sessions 0 --chats 2 --rate 5 --duration 3s",
        "panda-loadtest steady --sessions 1 --chats 2 --rate 5 --duration 3y",
        "panda-loadtest replay",
        "panda-loadtest replay f --speed quick",
        "panda-loadtest idle --sessions 1 --duration 1s --transport pigeon",
        "panda-loadtest reads --rate 0",
        "panda-loadtest members",
        "panda-loadtest members --duration 9s --changes 3",
    ] {
        assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
    }
}

#[test]
fn reads_are_ten_thousand_if_nothing_is_said_and_members_come_and_go_for_as_long_as_is_said() {
    let of = |line: &str| Cli::try_parse_from(line.split(' ')).unwrap().scenario;
    assert!(matches!(of("panda-loadtest reads"), Scenario::Reads(Reads { count: 10_000, .. })));
    let Scenario::Members(asked) = of("panda-loadtest members --duration 90s") else { panic!("another scenario") };
    assert_eq!((asked.duration, asked.changes), (Some(Duration::from_secs(90)), None));
    let Scenario::Members(asked) = of("panda-loadtest members --changes 6") else { panic!("another scenario") };
    assert_eq!((asked.duration, asked.changes), (None, Some(6)));
    assert!(asked.sessions >= 2 * asked.chats);
}

#[test]
fn mixed_is_half_and_half() {
    let websockets = (0..101).filter(|&number| Transport::Mixed.of(number) == TransportKind::WebSocket).count();
    assert_eq!(websockets, Transport::Mixed.websockets(101));
}
