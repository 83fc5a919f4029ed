//! A connection to a destination: a socket, or a tunnel inside TLS with a parent proxy.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::proxy::outbound::answer_first::Resets;

/// A connection on which nothing was said yet.
pub enum Connected {
    /// To the destination itself, or to a parent proxy that is spoken to without TLS.
    Tcp(TcpStream),
    /// To a parent proxy, inside TLS. In a box, because it is the rare case and large.
    Tls(Box<TlsStream<TcpStream>>),
}

/// The same call on whichever it is.
macro_rules! whichever {
    ($connected:expr, $io:ident => $call:expr) => {
        match $connected {
            Connected::Tcp($io) => $call,
            Connected::Tls($io) => $call,
        }
    };
}

impl Resets for Connected {
    fn reset_when_closed(&self) {
        match self {
            Self::Tcp(io) => io.reset_when_closed(),
            Self::Tls(io) => io.get_ref().0.reset_when_closed(),
        }
    }
}

impl AsyncRead for Connected {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        whichever!(&mut *self, io => Pin::new(io).poll_read(cx, out))
    }
}

impl AsyncWrite for Connected {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        whichever!(&mut *self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        whichever!(&mut *self, io => Pin::new(io).poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        whichever!(self, io => io.is_write_vectored())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        whichever!(&mut *self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        whichever!(&mut *self, io => Pin::new(io).poll_shutdown(cx))
    }
}
