//! HTTP/1.1 with a client, once the head guard has read each head.

use std::future::Future;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::proxy::context::Proxy;
use crate::proxy::inbound::client::Client;
use crate::proxy::inbound::entry::Entry;
use crate::proxy::inbound::head_guard::HeadGuard;
use crate::proxy::inbound::service::Service;
use crate::proxy::runtime::aside::Aside;
use crate::proxy::runtime::limits::HEADERS_ON_STACK;
use crate::proxy::runtime::signal::HeadSignal;

/// The least read buffer of a client connection: a whole head has to fit after its request line
/// was encoded, which can treble it.
const HEAD_GROWTH: usize = 3;

const LEAST_BUFFER: usize = 256 * 1024;

/// Notes how a connection ended.
pub fn note_end(ended: hyper::Result<()>) {
    if ended.is_err() {
        // The usual cause is a client that went away. The library's text is not logged.
        tracing::debug!("a client connection ended in an error");
    }
}

/// Serves HTTP/1.1 on a connection until it ends or the proxy drains.
///
/// The connection is made before the future, and in a box: handed to an `async fn` it would be held
/// twice, by its argument and by what that becomes.
pub fn serve<A, S>(
    proxy: Arc<Proxy>,
    guard: HeadGuard<S>,
    signal: HeadSignal,
    entry: Entry,
) -> impl Future<Output = ()> + Send
where
    A: Service,
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let client = Client::new(proxy, entry, signal);
    let settings = client.proxy.settings.load();
    let limits = &settings.config.proxy;
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        .max_buf_size(LEAST_BUFFER.max(limits.max_header_bytes * HEAD_GROWTH));
    if limits.max_headers > HEADERS_ON_STACK {
        builder.max_headers(limits.max_headers);
    }
    drop(settings);
    let asked = Arc::clone(&client);
    let service =
        service_fn(move |request| A::answer(Arc::clone(&asked), asked.signal.take(), request));
    let connection = builder
        .serve_connection(TokioIo::new(guard), service)
        .with_upgrades();
    let mut connection = Box::pin(connection);
    async move {
        let leave = Aside::new(Box::pin(client.leave()));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = leave => {
                // Not ended here: whoever has read the last answer may be sending the next request, and
                // the head guard sees whether anything comes.
                tokio::select! {
                    biased;
                    ended = connection.as_mut() => ended,
                    () = client.drain() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                }
            }
        };
        note_end(ended);
    }
}
