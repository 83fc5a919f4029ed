//! A connection to a destination: a socket, or a tunnel inside TLS with a parent proxy.

use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::proxy::outbound::answer_first::Resets;
use crate::proxy::runtime::tcp_or_tls::TcpOrTls;

/// A connection on which nothing was said yet: to the destination itself or to a parent proxy; inside
/// TLS, if the parent proxy is spoken to so.
pub type Connected = TcpOrTls<TlsStream<TcpStream>>;

impl Resets for Connected {
    fn reset_when_closed(&self) {
        match self {
            Self::Tcp(io) => io.reset_when_closed(),
            // It knows no reset; and nothing is dialled by one.
            Self::Unix(_) => {}
            Self::Tls(io) => io.get_ref().0.reset_when_closed(),
        }
    }
}
