//! How a connection that the run's own listener accepted gets to the proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy_bidirectional_with_sizes};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use super::forwarder::State;
use super::remote::Remote;
use crate::app::VouchedClient;
use crate::proxy::inbound::arrival;

/// Buffer of a connection that is passed on, each way.
const BUFFER: usize = 64 * 1024;

/// How a connection gets to the proxy, and whom it is vouched for there.
#[derive(Clone)]
pub(super) enum Way {
    /// The proxy runs in this process.
    Here(VouchedClient),
    /// It runs in another one. With the credentials that go before the bytes of each connection.
    To(SocketAddr, Credentials),
    /// It runs in another `egret run`, which may end first.
    Through(Arc<State>, Credentials),
    /// It runs on another machine.
    Far(Remote, Credentials),
}

/// As in `Proxy-Authorization`.
pub(super) type Credentials = Arc<Zeroizing<String>>;

impl Way {
    /// Serves the connection, or passes it on to its end. The client has made it to `original`, if it
    /// knows of no proxy.
    pub(super) async fn take(self, client: TcpStream, original: Option<SocketAddr>) {
        let header = |credentials: &Credentials| arrival::header(credentials, original);
        let passed = match self {
            Self::Here(vouched) => vouched.serve(client, original),
            Self::To(address, own) => match TcpStream::connect(address).await {
                Ok(proxy) => to_socket(client, proxy, &header(&own)).await,
                Err(error) => Err(error),
            },
            Self::Far(remote, own) => match remote.connect().await {
                Ok(proxy) => pass_on(client, proxy, &header(&own)).await,
                Err(error) => {
                    tracing::error!(kind = %error.kind(), "the proxy cannot be reached");
                    Ok(())
                }
            },
            Self::Through(state, own) => match state.connect().await {
                Ok(proxy) => to_socket(client, proxy, &header(&own)).await,
                Err(error) => {
                    tracing::error!("no proxy to pass a connection on to: {error:#}");
                    Ok(())
                }
            },
        };
        if let Err(error) = passed {
            tracing::debug!(kind = %error.kind(), "a connection could not be passed on");
        }
    }
}

async fn to_socket(client: TcpStream, proxy: TcpStream, header: &[u8]) -> io::Result<()> {
    // Small writes followed by waits: with Nagle's algorithm each would cost 40 ms.
    proxy.set_nodelay(true)?;
    pass_on(client, proxy, header).await
}

async fn pass_on<P>(mut client: TcpStream, mut proxy: P, header: &[u8]) -> io::Result<()>
where
    P: AsyncRead + AsyncWrite + Unpin,
{
    client.set_nodelay(true)?;
    proxy.write_all(header).await?;
    proxy.flush().await?;
    // Either side may close at any time, which is no error.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut proxy, BUFFER, BUFFER).await;
    Ok(())
}
