use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;

fn gate(limits: AdmissionLimits) -> Gate {
    Gate::new(limits)
}

fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

fn v6(network: u16, host: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host))
}

fn now() -> Instant {
    Instant::now()
}

#[test]
fn handshakes_in_progress_are_limited_and_given_back() {
    let gate = gate(AdmissionLimits { handshakes_max: 2, ..AdmissionLimits::default() });
    let first = gate.admit(v4(1), now()).unwrap();
    let second = gate.admit(v4(2), now()).unwrap();
    assert_eq!(gate.admit(v4(3), now()).unwrap_err(), Refusal::Handshakes);
    drop(first);
    let third = gate.admit(v4(3), now()).unwrap();
    let session = second.authenticated().unwrap();
    assert_eq!((gate.handshakes(), gate.sessions()), (1, 1));
    drop((third, session));
    assert_eq!((gate.handshakes(), gate.sessions()), (0, 0));
    assert_eq!(gate.counters().value(Counted::RefusedHandshakes), 1);
    assert_eq!(gate.counters().value(Counted::Abandoned), 2);
}

#[test]
fn abandoned_handshakes_leave_nothing_behind() {
    let gate = gate(AdmissionLimits { handshakes_max: 8, ..AdmissionLimits::default() });
    for host in 0..10_000_u16 {
        drop(gate.admit(v6(host, 1), now()).unwrap());
    }
    assert_eq!(gate.handshakes(), 0);
    assert_eq!(gate.shared.addresses.known(), 0, "an address without connections takes no memory");
    assert_eq!(gate.counters().value(Counted::Abandoned), 10_000);
}

#[test]
fn sessions_are_limited_at_authentication_and_before() {
    let gate = gate(AdmissionLimits { sessions_max: 1, ..AdmissionLimits::default() });
    let first = gate.admit(v4(1), now()).unwrap();
    let second = gate.admit(v4(1), now()).unwrap();
    let session = first.authenticated().unwrap();
    assert_eq!(second.authenticated().unwrap_err(), Refusal::Sessions);
    assert_eq!(gate.admit(v4(1), now()).unwrap_err(), Refusal::Sessions);
    assert_eq!(gate.handshakes(), 0, "a refused one gives its place back");
    drop(session);
    assert!(gate.admit(v4(1), now()).unwrap().authenticated().is_ok());
}

#[test]
fn connections_of_an_address_are_limited_by_ipv6_network() {
    let gate = gate(AdmissionLimits { connections_per_address_max: 2, ..AdmissionLimits::default() });
    let held = [gate.admit(v6(1, 1), now()).unwrap(), gate.admit(v6(1, 2), now()).unwrap()];
    assert_eq!(gate.admit(v6(1, 3), now()).unwrap_err(), Refusal::Address);
    assert!(gate.admit(v6(2, 3), now()).is_ok(), "another network has its own count");
    let places = held.map(|handshake| handshake.handed_over().unwrap());
    assert_eq!(gate.admit(v6(1, 3), now()).unwrap_err(), Refusal::Address, "HTTP connections count too");
    drop(places);
    assert!(gate.admit(v6(1, 3), now()).is_ok());
    assert_eq!(gate.handshakes(), 0);
}

#[test]
fn http_connections_of_an_address_are_fewer_than_its_connections() {
    let limits = AdmissionLimits { http_connections_per_address_max: 1, ..AdmissionLimits::default() };
    let gate = gate(limits);
    let first = gate.admit(v4(1), now()).unwrap().handed_over().unwrap();
    let refused = gate.admit(v4(1), now()).unwrap().handed_over().unwrap_err();
    assert_eq!(gate.handshakes(), 1, "it has its place while it is told");
    drop(refused);
    assert_eq!((gate.handshakes(), gate.counters().value(Counted::RefusedHttp)), (0, 1));
    assert_eq!(gate.counters().value(Counted::Abandoned), 0, "the gate gave it up, not the peer");
    let _session = gate.admit(v4(1), now()).unwrap().authenticated().unwrap();
    let _another = gate.admit(v4(2), now()).unwrap().handed_over().unwrap();
    drop(first);
    assert!(gate.admit(v4(1), now()).unwrap().handed_over().is_ok());
}

#[test]
fn an_ipv4_address_counts_the_same_in_ipv6_clothes() {
    let gate = gate(AdmissionLimits { connections_per_address_max: 1, ..AdmissionLimits::default() });
    let _held = gate.admit(v4(7), now()).unwrap();
    let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped());
    assert_eq!(gate.admit(mapped, now()).unwrap_err(), Refusal::Address);
}

#[test]
fn refusals_say_what_a_client_does_next() {
    use panda_protocol::error_code::Recovery;
    for refusal in [Refusal::Handshakes, Refusal::Sessions, Refusal::Address, Refusal::Http] {
        assert_eq!(Recovery::of(refusal.code() as u16), Recovery::BackOff);
        assert!(refusal.retry_after_s() > 0);
    }
}
