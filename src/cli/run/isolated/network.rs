//! The network inside: a loopback interface to which every address is local.
//!
//! Four messages to the kernel (rtnetlink(7)), written here: no part of them varies, and a library
//! that can write any would be larger than the rest of this program's dependencies for networks.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with,
};

/// The address that every name has inside, from the range for benchmarks (RFC 2544), which nobody
/// uses otherwise. It is one of the interface's own: a client that looks whether this machine has
/// IPv4 finds that it does.
pub(super) const ADDRESS_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The same for IPv6, a unique local address (RFC 4193).
pub(super) const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd65, 0x6772, 0x6574, 0, 0, 0, 0, 1);

const INET: u8 = 2;
const INET6: u8 = 10;
/// The loopback interface is the first of each namespace.
const LOOPBACK: u32 = 1;

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
/// `NLM_F_REQUEST | NLM_F_ACK`, and for what is made `NLM_F_CREATE | NLM_F_EXCL`.
const REQUEST: u16 = 0x0005;
const CREATE: u16 = REQUEST | 0x0600;

/// `IFF_UP`.
const UP: u32 = 1;
/// `RT_TABLE_LOCAL`, `RTPROT_BOOT`, `RT_SCOPE_HOST`, `RTN_LOCAL`.
const LOCAL_ROUTE: [u8; 4] = [255, 3, 254, 2];
/// `RTA_OIF`, `IFA_ADDRESS`, `IFA_LOCAL`.
const OUTPUT: u16 = 4;
const ADDRESS: u16 = 1;
const LOCAL: u16 = 2;
/// `IFA_F_NODAD`: nobody else can have the address.
const NO_DUPLICATES: u8 = 0x02;

/// Settings of the namespace, best effort: nothing answers an echo request in the name of others.
const SETTINGS: [&str; 2] = [
    "/proc/sys/net/ipv4/icmp_echo_ignore_all",
    "/proc/sys/net/ipv6/icmp/echo_ignore_all",
];

/// Makes every address local. A kernel without IPv6 is left without.
pub(super) fn lead_here() -> io::Result<()> {
    let kernel = Kernel::open()?;
    let up = [
        &[0_u8; 4][..],
        &LOOPBACK.to_ne_bytes(),
        &UP.to_ne_bytes(),
        &UP.to_ne_bytes(),
    ];
    kernel.ask(NEW_LINK, REQUEST, &up.concat())?;
    kernel.ask(
        NEW_ADDRESS,
        CREATE,
        &address(INET, 32, &ADDRESS_V4.octets()),
    )?;
    kernel.ask(NEW_ROUTE, CREATE, &route(INET))?;
    for (kind, message) in [
        (NEW_ADDRESS, address(INET6, 128, &ADDRESS_V6.octets())),
        (NEW_ROUTE, route(INET6)),
    ] {
        let _ = kernel.ask(kind, CREATE, &message);
    }
    for setting in SETTINGS {
        let _ = fs::write(setting, "1");
    }
    Ok(())
}

fn address(family: u8, prefix: u8, octets: &[u8]) -> Vec<u8> {
    let mut message = vec![family, prefix, NO_DUPLICATES, 0];
    message.extend_from_slice(&LOOPBACK.to_ne_bytes());
    attribute(&mut message, LOCAL, octets);
    attribute(&mut message, ADDRESS, octets);
    message
}

/// `ip route add local DEFAULT dev lo`
fn route(family: u8) -> Vec<u8> {
    let mut message = vec![family, 0, 0, 0];
    message.extend_from_slice(&LOCAL_ROUTE);
    message.extend_from_slice(&[0; 4]);
    attribute(&mut message, OUTPUT, &LOOPBACK.to_ne_bytes());
    message
}

/// Length, type, content. Every content here is a multiple of four bytes, so that no padding follows.
fn attribute(message: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let length = u16::try_from(4 + content.len()).unwrap_or(u16::MAX);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(content);
}

struct Kernel(OwnedFd);

impl Kernel {
    fn open() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE is the default.
            None,
        )?;
        Ok(Self(socket))
    }

    /// Sends one message and waits for the kernel's acknowledgement, which comes at once.
    fn ask(&self, kind: u16, flags: u16, message: &[u8]) -> io::Result<()> {
        const HEADER: usize = 16;
        let length = u32::try_from(HEADER + message.len()).unwrap_or(u32::MAX);
        let mut packet = Vec::with_capacity(HEADER + message.len());
        packet.extend_from_slice(&length.to_ne_bytes());
        packet.extend_from_slice(&kind.to_ne_bytes());
        packet.extend_from_slice(&flags.to_ne_bytes());
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(message);
        sendto(
            &self.0,
            &packet,
            SendFlags::empty(),
            &SocketAddrNetlink::new(0, 0),
        )?;
        let mut answer = [0; 512];
        let (_, read) = recv(&self.0, &mut answer[..], RecvFlags::empty())?;
        // A header, then a number: zero, or an error's with its sign changed.
        let number = answer[..read].get(HEADER..HEADER + 4);
        let number: Option<[u8; 4]> = number.and_then(|number| number.try_into().ok());
        match number.map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
