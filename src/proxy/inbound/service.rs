//! What a connection's requests are answered by.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

use crate::proxy::inbound::client::Client;
use crate::proxy::response::reply_body::ReplyBody;
use crate::proxy::runtime::signal::HeadNote;

/// Answers requests, whichever protocol version and entry they came through.
///
/// A tunnel serves requests, and a request may open a tunnel. This trait keeps the two apart: the
/// modules that speak a protocol know only that there is something which answers.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. `note` is what was found out about its head before it was parsed; none
    /// if the head guard never saw it.
    fn answer(
        client: Arc<Client>,
        note: Option<HeadNote>,
        request: Request<Incoming>,
    ) -> impl Future<Output = Result<Response<ReplyBody>, Infallible>> + Send;
}
