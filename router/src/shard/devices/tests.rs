use panda_protocol::link::{Admit, Admitted, Up};

use super::super::Input;
use super::super::damage::tests::{go_on, shard, user};
use super::*;

const ADA: u8 = 1;
const PHONE: u8 = 1;
const TABLET: u8 = 2;

fn device(number: u8) -> DeviceId {
    DeviceId::from_random([number; 16])
}

fn session(number: u8) -> SessionId {
    SessionId::from_random([number; 16])
}

/// Links are named as the sessions that come over them.
fn hello(shard: &mut Shard, number: u8, of: u8, again: bool) {
    let opens = Some(Opens { device: device(of), session: session(number), again });
    let (token, user) = (number.into(), user(ADA));
    let admit = Admit { token, user, entity: user.into(), cursor: None, member: None, opens };
    shard.handle(Input::Up(LinkId(number.into()), Up::Admit(admit)));
}

fn stated(shard: &mut Shard, number: u8, of: u8) {
    let up = Up::Attach { user: user(ADA), device: device(of), session: session(number) };
    shard.handle(Input::Up(LinkId(number.into()), up));
}

/// Who was admitted, and who was replaced since the last look; each where it is.
fn told(shard: &mut Shard) -> (Vec<u8>, Vec<u8>) {
    let (mut admitted, mut replaced) = (Vec::new(), Vec::new());
    for output in go_on(shard, 5) {
        match output {
            Output::Send(link, Down::Admitted(Admitted { token, outcome: Ok(_), .. })) => {
                assert_eq!(link, LinkId(token));
                admitted.push(u8::try_from(token).expect("it is a session's number"));
            }
            Output::Send(LinkId(link), Down::Replaced { session: of }) => {
                let number = u8::try_from(link).expect("it is a session's number");
                assert_eq!(of, session(number));
                replaced.push(number);
            }
            _ => {}
        }
    }
    (admitted, replaced)
}

fn nobody() -> Vec<u8> {
    Vec::new()
}

#[test]
fn of_two_sessions_of_a_device_the_one_whose_hello_came_later_stays() {
    let shard = &mut shard();
    // Both are answered at once; which edge opens its session first is nobody's to say.
    hello(shard, 1, PHONE, false);
    hello(shard, 2, PHONE, false);
    hello(shard, 3, TABLET, false);
    assert_eq!(told(shard), (vec![1, 2, 3], vec![1]));
    // The older one's edge lost its link and states what it still has.
    stated(shard, 1, PHONE);
    assert_eq!(told(shard), (nobody(), vec![1]));
    stated(shard, 2, PHONE);
    assert_eq!(told(shard), (nobody(), nobody()));
    shard.handle(Input::Up(LinkId(2), Up::Detach { user: user(ADA), device: device(PHONE), session: session(2) }));
    hello(shard, 4, PHONE, false);
    assert_eq!(told(shard), (vec![4], nobody()));
}

#[test]
fn sessions_that_are_stated_to_a_new_owner_take_nobodys_place() {
    let shard = &mut shard();
    stated(shard, 2, PHONE);
    stated(shard, 1, PHONE);
    hello(shard, 3, PHONE, true);
    assert_eq!(told(shard), (vec![3], nobody()), "nobody knows which is the newest");
    hello(shard, 4, PHONE, false);
    assert_eq!(told(shard), (vec![4], vec![2, 1, 3]));
    // Its link broke before its question was answered: it may be newer than the fourth, or older.
    hello(shard, 5, PHONE, true);
    assert_eq!(told(shard), (vec![5], nobody()));
    shard.handle(Input::LinkClosed(LinkId(5)));
    stated(shard, 5, PHONE);
    assert_eq!(told(shard), (nobody(), nobody()));
}

#[test]
fn a_hello_that_is_not_admitted_replaces_nobody() {
    let shard = &mut shard();
    hello(shard, 1, PHONE, false);
    assert_eq!(told(shard), (vec![1], nobody()));
    // Somebody else's inbox, and the device of whom it belongs to.
    let opens = Some(Opens { device: device(PHONE), session: session(2), again: false });
    let admit = Admit { token: 2, user: user(7), entity: user(ADA).into(), cursor: None, member: None, opens };
    shard.handle(Input::Up(LinkId(2), Up::Admit(admit)));
    assert_eq!(told(shard), (nobody(), nobody()));
}
