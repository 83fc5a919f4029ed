//! What is known of a connection before its first request: whom its listener speaks for.
//!
//! A listener that belongs to one client, such as that of an `egret run`, vouches for whoever
//! connects to it, so that the address of the proxy needs no password. It has the connection served
//! in its own process, or passes it on with a header of the PROXY protocol, version 2 (haproxy's
//! `proxy-protocol.txt`), in front. The header carries the same credentials that
//! `Proxy-Authorization` would, and proves no more than they do: whoever can reach the port may send
//! one.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use zeroize::Zeroizing;

use crate::identity::Presented;
use crate::proxy::context::Settings;

/// Whom a connection's listener speaks for, if it does.
#[derive(Clone, Default)]
pub struct Arrival {
    /// The client, unless a request shows a token of its own.
    pub holder: Option<Arc<Presented>>,
    /// The address that the client connected to, if it knows of no proxy.
    pub original: Option<SocketAddr>,
}

/// The signature of the protocol. It begins like empty lines, which may stand before a request.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The first byte of the signature.
pub const FIRST_BYTE: u8 = SIGNATURE[0];
/// Version 2, command LOCAL: the connection is the sender's own, without addresses.
const LOCAL: u8 = 0x20;
/// Version 2, command PROXY: the connection is somebody else's, to an address that follows.
const REDIRECTED: u8 = 0x21;
/// No address family, no transport.
const UNSPECIFIED: u8 = 0;
/// TCP over IPv6; an IPv4 address is written as one that is mapped.
const TCP_V6: u8 = 0x21;
/// Two addresses and two ports.
const ADDRESSES: usize = 36;
/// The first type that the protocol leaves to applications (`PP2_TYPE_MIN_CUSTOM`): the credentials,
/// written as in `Proxy-Authorization`.
const CREDENTIALS: u8 = 0xE0;
/// Version and command, family, length.
const FIXED: usize = 4;
/// Type and length of a field.
const FIELD: usize = 3;
/// Longest header that is read: the longest credentials that a request may show, and some room.
const LONGEST: usize = 20 * 1024;

/// The header for a connection of the client with these credentials; to `original`, if the client
/// knows of no proxy.
pub fn header(credentials: &str, original: Option<SocketAddr>) -> Zeroizing<Vec<u8>> {
    let value = credentials.as_bytes();
    let addresses = original.map(addresses);
    let addresses = addresses
        .as_ref()
        .map_or(&[][..], |addresses| &addresses[..]);
    let [command, family] = match original {
        Some(_) => [REDIRECTED, TCP_V6],
        None => [LOCAL, UNSPECIFIED],
    };
    let rest = addresses.len() + FIELD + value.len();
    let mut header = Zeroizing::new(Vec::with_capacity(SIGNATURE.len() + FIXED + rest));
    header.extend_from_slice(SIGNATURE);
    header.extend_from_slice(&[command, family]);
    header.extend_from_slice(&length(rest));
    header.extend_from_slice(addresses);
    header.push(CREDENTIALS);
    header.extend_from_slice(&length(value.len()));
    header.extend_from_slice(value);
    header
}

/// The address that was meant, in the place of both: where the client is does not matter.
fn addresses(original: SocketAddr) -> [u8; ADDRESSES] {
    let ip = match original {
        SocketAddr::V4(address) => address.ip().to_ipv6_mapped(),
        SocketAddr::V6(address) => *address.ip(),
    };
    let mut addresses = [0; ADDRESSES];
    addresses[..16].copy_from_slice(&ip.octets());
    addresses[16..32].copy_from_slice(&ip.octets());
    addresses[32..34].copy_from_slice(&original.port().to_be_bytes());
    addresses[34..].copy_from_slice(&original.port().to_be_bytes());
    addresses
}

/// The second of the two addresses, and what follows them.
fn split_addresses(fields: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let (addresses, rest) = fields.split_at_checked(ADDRESSES)?;
    let ip: [u8; 16] = addresses[16..32].try_into().ok()?;
    let port = u16::from_be_bytes([addresses[34], addresses[35]]);
    let ip = Ipv6Addr::from(ip).to_canonical();
    Some((SocketAddr::new(ip, port), rest))
}

/// Credentials are far shorter than what fits.
fn length(length: usize) -> [u8; 2] {
    u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes()
}

impl Arrival {
    /// Of the client with these credentials, written as in `Proxy-Authorization`.
    pub fn of(credentials: &[u8], settings: &Settings) -> Self {
        let presented = settings.identity.present(Some(credentials));
        Self {
            holder: presented.map(Arc::new),
            original: None,
        }
    }

    /// The same, for a connection to `original` of a client that knows of no proxy.
    pub fn redirected(self, original: Option<SocketAddr>) -> Self {
        Self { original, ..self }
    }

    /// Reads what stands in front of the first request, if there is something. `early` gets the bytes
    /// that turned out to belong to the request.
    ///
    /// # Errors
    /// When a header is of another kind, is too long, or ends early. What came is not repeated.
    pub async fn read<S: AsyncRead + Unpin>(
        stream: &mut S,
        settings: &Settings,
        early: &mut BytesMut,
    ) -> io::Result<Self> {
        while early.len() < SIGNATURE.len() {
            let missing = SIGNATURE.len() - early.len();
            let read = (&mut *stream).take(missing as u64).read_buf(early).await?;
            if read == 0 || !SIGNATURE.starts_with(early) {
                return Ok(Self::default());
            }
        }
        early.clear();
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut fixed = [0; FIXED];
        stream.read_exact(&mut fixed).await?;
        let [command, family, high, low] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let is_redirected = [command, family] == [REDIRECTED, TCP_V6];
        if !(is_redirected || command == LOCAL) || length > LONGEST {
            return Err(invalid());
        }
        let mut fields = Zeroizing::new(vec![0; length]);
        stream.read_exact(&mut fields).await?;
        let (original, fields) = if is_redirected {
            let (original, rest) = split_addresses(&fields).ok_or_else(invalid)?;
            (Some(original), rest)
        } else {
            (None, &fields[..])
        };
        let credentials = credentials(fields).ok_or_else(invalid)?;
        Ok(Self::of(credentials, settings).redirected(original))
    }
}

/// The credentials among the fields. Other fields are skipped, as the protocol asks.
fn credentials(mut fields: &[u8]) -> Option<&[u8]> {
    loop {
        let (head, rest) = fields.split_at_checked(FIELD)?;
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        let (value, rest) = rest.split_at_checked(length)?;
        if head[0] == CREDENTIALS {
            return Some(value);
        }
        fields = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_header_has_the_layout_of_the_protocol() {
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x06\xE0\x00\x03abc";
        let header = header("abc", None);
        assert_eq!(header.as_slice(), expected);
        let fields = &header[SIGNATURE.len() + FIXED..];
        assert_eq!(credentials(fields), Some(&b"abc"[..]));
    }

    #[test]
    fn the_address_that_was_meant_comes_back_as_it_was() {
        for original in ["198.18.0.5:443", "[2001:db8::1]:80"] {
            let original: SocketAddr = original.parse().unwrap();
            let header = header("abc", Some(original));
            let fields = &header[SIGNATURE.len() + FIXED..];
            let (found, rest) = split_addresses(fields).unwrap();
            assert_eq!(found, original);
            assert_eq!(credentials(rest), Some(&b"abc"[..]));
        }
    }

    #[test]
    fn other_fields_are_skipped_and_half_ones_are_none() {
        let other = b"\x01\x00\x02h2\xE0\x00\x01x";
        assert_eq!(credentials(other), Some(&b"x"[..]));
        for cut in 0..other.len() {
            assert_eq!(credentials(&other[..cut]), None, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_fields_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = credentials(&bytes);
        }
    }
}
