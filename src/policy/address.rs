//! Which addresses Egret dials.
//!
//! A name that an assistant chooses may resolve to the machine that Egret runs on, to its
//! neighbours, or to the cloud's metadata service, which gives credentials to any client. Every
//! resolved address is checked here, and the address that was checked is the one that is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Address ranges that are refused unless the configuration names them.
#[derive(Clone, Debug, Default)]
pub struct AddressPolicy {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

/// An address that policy refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForbiddenAddress {
    /// The configuration can allow it.
    #[error("the address is in a refused range ({range}); `upstream.allow_private` can allow it")]
    Special {
        /// What the range is, in words.
        range: &'static str,
    },
    /// The configuration names it.
    #[error("the address is in a range that the operator denies (`egress.deny_addresses`)")]
    Denied,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(high: [u16; 4], low: [u16; 4], prefix: u8) -> Ipv6Net {
    let ([a, b, c, d], [e, f, g, h]) = (high, low);
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// From the IANA special-purpose registry, without the documentation ranges, which no host uses.
/// Single hosts come before the ranges that contain them, so that the error names the host's use.
const FORBIDDEN_V4: &[(Ipv4Net, &str)] = &[
    (v4(169, 254, 169, 254, 32), "cloud metadata"),
    (v4(169, 254, 170, 0, 24), "cloud metadata"), // AWS container credentials
    (v4(100, 100, 100, 200, 32), "cloud metadata"), // Alibaba
    (v4(192, 0, 0, 192, 32), "cloud metadata"),   // Oracle
    (v4(168, 63, 129, 16, 32), "cloud metadata"), // Azure, in a public range
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "IETF protocol assignments"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarking"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

const FORBIDDEN_V6: &[(Ipv6Net, &str)] = &[
    (v6([0; 4], [0; 4], 128), "unspecified"),
    (v6([0; 4], [0, 0, 0, 1], 128), "loopback"),
    (v6([0xfd00, 0xec2, 0, 0], [0; 4], 32), "cloud metadata"), // AWS
    (v6([0xfd20, 0xce, 0, 0], [0; 4], 32), "cloud metadata"),  // Google
    (v6([0xfc00, 0, 0, 0], [0; 4], 7), "private"),
    (v6([0xfe80, 0, 0, 0], [0; 4], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0], [0; 4], 10), "private"), // site-local, RFC 3879
    (v6([0xff00, 0, 0, 0], [0; 4], 8), "multicast"),
    // The operator's own NAT64 prefix (RFC 8215): the position of the IPv4 address in it depends on
    // a prefix length that only the operator knows (RFC 6052 section 2.2).
    (v6([0x64, 0xff9b, 1, 0], [0; 4], 48), "local NAT64"),
];

/// The only part of IPv6 that is allocated to networks on the internet.
const GLOBAL_UNICAST: Ipv6Net = v6([0x2000, 0, 0, 0], [0; 4], 3);

impl AddressPolicy {
    /// A policy that allows these ranges (`upstream.allow_private`).
    pub fn new(allow: Vec<IpNet>) -> Self {
        Self {
            allow,
            deny: Vec::new(),
        }
    }

    /// The same, which refuses these ranges (`egress.deny_addresses`) whatever else is allowed.
    pub fn denying(self, deny: Vec<IpNet>) -> Self {
        Self { deny, ..self }
    }

    /// Whether this address may be dialled.
    pub fn check(&self, address: IpAddr) -> Result<(), ForbiddenAddress> {
        if self.is_denied(address) {
            return Err(ForbiddenAddress::Denied);
        }
        if self.allow.iter().any(|range| range.contains(&address)) {
            return Ok(());
        }
        match address {
            IpAddr::V4(address) => forbidden_in(FORBIDDEN_V4, |range| range.contains(&address)),
            IpAddr::V6(address) => self.check_v6(address),
        }
    }

    /// Whether the operator denies an address, also where it is written into one of IPv6.
    fn is_denied(&self, address: IpAddr) -> bool {
        let names = |address: IpAddr| self.deny.iter().any(|range| range.contains(&address));
        match address {
            IpAddr::V4(_) => names(address),
            IpAddr::V6(v6) => {
                let mut inner = embedded_v4(v6).into_iter().flatten();
                names(address) || inner.any(|inner| names(IpAddr::V4(inner)))
            }
        }
    }

    fn check_v6(&self, address: Ipv6Addr) -> Result<(), ForbiddenAddress> {
        forbidden_in(FORBIDDEN_V6, |range| range.contains(&address))?;
        let embedded = embedded_v4(address);
        for inner in embedded.into_iter().flatten() {
            self.check(IpAddr::V4(inner))?;
        }
        if embedded == NONE_EMBEDDED && !GLOBAL_UNICAST.contains(&address) {
            return Err(ForbiddenAddress::Special { range: "reserved" });
        }
        Ok(())
    }
}

fn forbidden_in<Net>(
    table: &[(Net, &'static str)],
    contains: impl Fn(&Net) -> bool,
) -> Result<(), ForbiddenAddress> {
    match table.iter().find(|(range, _)| contains(range)) {
        Some((_, range)) => Err(ForbiddenAddress::Special { range }),
        None => Ok(()),
    }
}

const NONE_EMBEDDED: [Option<Ipv4Addr>; 2] = [None, None];

/// The IPv4 addresses to which a translator or tunnel forwards a packet for this IPv6 address.
/// `::ffff:127.0.0.1` reaches loopback, and so may `64:ff9b::127.0.0.1`.
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let last = Ipv4Addr::from_bits(low_32(address, 0));
    match address.segments() {
        // IPv4-compatible (RFC 4291 section 2.5.5.1), IPv4-mapped (2.5.5.2), IPv4-translated
        // (RFC 2765 section 2.1).
        [0, 0, 0, 0, 0, 0, _, _]
        | [0, 0, 0, 0, 0, 0xffff, _, _]
        | [0, 0, 0, 0, 0xffff, 0, _, _]
        // NAT64 (RFC 6052 section 2.1).
        | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => [Some(last), None],
        // 6to4 (RFC 3056 section 2).
        [0x2002, ..] => [Some(Ipv4Addr::from_bits(low_32(address, 80))), None],
        // Teredo (RFC 4380 section 4): the server, and the client with all bits flipped.
        [0x2001, 0, ..] => {
            let server = Ipv4Addr::from_bits(low_32(address, 64));
            let client = Ipv4Addr::from_bits(!low_32(address, 0));
            [Some(server), Some(client)]
        }
        // ISATAP (RFC 5214 section 6.1), in any network.
        [_, _, _, _, 0 | 0x200, 0x5efe, _, _] => [Some(last), None],
        _ => NONE_EMBEDDED,
    }
}

/// The 32 bits that are left when the address is shifted right by this many.
fn low_32(address: Ipv6Addr, shift: u32) -> u32 {
    // Truncation is intended.
    (address.to_bits() >> shift) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(address: &str) -> Option<&'static str> {
        let policy = AddressPolicy::default();
        policy
            .check(address.parse().unwrap())
            .err()
            .map(|forbidden| match forbidden {
                ForbiddenAddress::Special { range } => range,
                ForbiddenAddress::Denied => "denied",
            })
    }

    #[test]
    fn a_denied_range_is_refused_whatever_is_allowed_and_however_it_is_written() {
        let deny = vec![
            "93.184.216.0/24".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ];
        let policy = AddressPolicy::new(vec!["10.0.0.0/8".parse().unwrap()]).denying(deny);
        for address in [
            "93.184.216.34",
            "10.1.2.3",
            "::ffff:93.184.216.34",
            "64:ff9b::5db8:d822",
        ] {
            let checked = policy.check(address.parse().unwrap());
            assert_eq!(checked, Err(ForbiddenAddress::Denied), "{address}");
        }
        assert_eq!(policy.check("93.184.217.34".parse().unwrap()), Ok(()));
    }

    #[test]
    fn special_ranges_are_refused_to_their_edges() {
        let cases = [
            ("0.0.0.0", "unspecified"),
            ("0.255.255.255", "unspecified"),
            ("10.0.0.0", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.0", "carrier-grade NAT"),
            ("100.127.255.255", "carrier-grade NAT"),
            ("100.100.100.200", "cloud metadata"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.255", "loopback"),
            ("168.63.129.16", "cloud metadata"),
            ("169.254.0.1", "link-local"),
            ("169.254.169.254", "cloud metadata"),
            ("169.254.170.2", "cloud metadata"),
            ("172.16.0.0", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.8", "IETF protocol assignments"),
            ("192.0.0.192", "cloud metadata"),
            ("192.168.0.1", "private"),
            ("198.19.255.255", "benchmarking"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("fd00:ec2::254", "cloud metadata"),
            ("fd20:ce::254", "cloud metadata"),
            ("fc00::1", "private"),
            ("fdff:ffff::1", "private"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "private"),
            ("ff02::1", "multicast"),
            ("64:ff9b:1::a00:1", "local NAT64"),
            ("100::1", "reserved"),
            ("4000::1", "reserved"),
        ];
        for (address, expected) in cases {
            assert_eq!(range(address), Some(expected), "{address}");
        }
    }

    #[test]
    fn public_and_documentation_addresses_pass() {
        let addresses = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.7",
            "223.255.255.255",
            "2001:db8::1",
            "2606:4700:4700::1111",
            "2a00:1450:4001:81c::200e",
            "64:ff9b::1.1.1.1",
            "::ffff:203.0.113.7",
        ];
        for address in addresses {
            assert_eq!(range(address), None, "{address}");
        }
    }

    /// Every way to wrap an IPv4 address into an IPv6 one that some host or router unwraps.
    fn wrappings(inner: Ipv4Addr) -> Vec<Ipv6Addr> {
        let bits = u128::from(inner.to_bits());
        let prefixed = |prefix: &str| {
            Ipv6Addr::from_bits(prefix.parse::<Ipv6Addr>().unwrap().to_bits() | bits)
        };
        let teredo_client = u128::from(!inner.to_bits());
        let public = u128::from(Ipv4Addr::new(1, 1, 1, 1).to_bits());
        let teredo = 0x2001_0000_u128 << 96;
        vec![
            prefixed("::ffff:0:0"),
            prefixed("::ffff:0:0:0"),
            prefixed("64:ff9b::"),
            prefixed("2606:4700::5efe:0:0"),
            prefixed("2606:4700::200:5efe:0:0"),
            Ipv6Addr::from_bits(0x2002_u128 << 112 | bits << 80 | 1),
            Ipv6Addr::from_bits(teredo | public << 64 | teredo_client),
            Ipv6Addr::from_bits(teredo | bits << 64 | u128::from(!0x0101_0101_u32)),
        ]
    }

    #[test]
    fn embedded_ipv4_addresses_are_judged_as_such() {
        let cases = [
            ("127.0.0.1", Some("loopback")),
            ("10.1.2.3", Some("private")),
            ("169.254.169.254", Some("cloud metadata")),
            ("8.8.8.8", None),
        ];
        for (inner, expected) in cases {
            for address in wrappings(inner.parse().unwrap()) {
                assert_eq!(range(&address.to_string()), expected, "{address}");
            }
        }
        assert_eq!(range("::127.0.0.1"), Some("loopback"));
        assert_eq!(range("::10.0.0.1"), Some("private"));
        assert_eq!(
            range("[::ffff:7f00:1]".trim_matches(['[', ']'])),
            Some("loopback")
        );
    }

    #[test]
    fn allowed_ranges_are_free_in_every_wrapping_and_nothing_else_is() {
        let policy = AddressPolicy::new(vec!["127.0.0.0/8".parse().unwrap()]);
        let loopback = Ipv4Addr::LOCALHOST;
        assert_eq!(policy.check(loopback.into()), Ok(()));
        for address in wrappings(loopback) {
            assert_eq!(policy.check(address.into()), Ok(()), "{address}");
        }
        assert!(policy.check(Ipv6Addr::LOCALHOST.into()).is_err());
        for address in wrappings(Ipv4Addr::new(10, 0, 0, 1)) {
            assert!(policy.check(address.into()).is_err(), "{address}");
        }
        let policy = AddressPolicy::new(vec!["::1/128".parse().unwrap()]);
        assert_eq!(policy.check(Ipv6Addr::LOCALHOST.into()), Ok(()));
        assert!(policy.check(loopback.into()).is_err());
    }

    proptest! {
        #[test]
        fn a_wrapped_address_is_never_judged_more_kindly(inner in any::<Ipv4Addr>()) {
            let policy = AddressPolicy::default();
            for address in wrappings(inner) {
                prop_assert_eq!(policy.check(address.into()), policy.check(inner.into()));
            }
        }

        #[test]
        fn what_the_standard_library_calls_special_is_refused(inner in any::<u32>(), byte in 0_usize..6) {
            let first = [0_u32, 10, 127, 169, 172, 192][byte];
            let address = Ipv4Addr::from_bits(first << 24 | inner >> 8);
            if address.is_private() || address.is_loopback() || address.is_link_local()
                || address.is_unspecified() || address.is_multicast() || address.is_broadcast()
            {
                prop_assert!(AddressPolicy::default().check(address.into()).is_err());
            }
        }
    }
}
