//! The address that a redirected connection was made to.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Where the client meant to connect: what the rules of the kernel kept, or else the socket's own
/// address, which is that very address where every one is routed here.
pub fn destination(stream: &TcpStream) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    let own = stream.local_addr().ok()?;
    let is_v4 = own.ip().to_canonical().is_ipv4();
    let kept = if is_v4 {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let kept = kept.ok().and_then(|address| address.as_socket());
    Some(canonical(kept.unwrap_or(own)))
}

/// IPv4 as itself, also where a socket of IPv6 has it mapped.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
