//! Whose connections and requests are counted together.

use std::net::{IpAddr, Ipv6Addr};

/// Who shares a count: an IPv4 address, or an IPv6 /64, which is what one household or host gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Neighbourhood(u64);

impl Neighbourhood {
    /// The one that an address belongs to. IPv4 in IPv6's clothes is IPv4.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // An IPv6 network that begins with 32 zero bits is not routed, so the two never meet.
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits())),
            IpAddr::V6(v6) if v6 == Ipv6Addr::LOCALHOST => Self(u64::MAX),
            IpAddr::V6(v6) => Self(u64::try_from(v6.to_bits() >> 64).expect("64 bits are left")),
        }
    }

    /// What no other has.
    pub const fn to_bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_and_an_address_of_ipv4_is_one_in_any_clothes() {
        let of = |text: &str| Neighbourhood::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_ne!(of("::1"), of("::2"));
    }
}
