//! The answer to a WebSocket handshake, and the beginning of the conversation.

use std::sync::Arc;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{Response, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::error::{Code, Refusal};
use crate::proxy::context::Proxy;
use crate::proxy::exchange::awaited::Awaited;
use crate::proxy::exchange::headers::EGRET_REQUEST;
use crate::proxy::exchange::upgrade;
use crate::proxy::exchange::via;
use crate::proxy::outbound::answer::{Answer, Lease};
use crate::proxy::outbound::leftover::Leftover;
use crate::proxy::response::findings::Findings;
use crate::proxy::response::relay::mark;
use crate::proxy::response::reply_body::ReplyBody;
use crate::proxy::response::scrubbing::scrub_head;
use crate::proxy::runtime::measures::{Kind, measures};
use crate::proxy::websocket::conversation::{Asker, Conversation};
use crate::proxy::websocket::messages::converse;

/// Passes the upstream's answer to the handshake on, and begins the conversation.
pub fn begin(
    proxy: &Arc<Proxy>,
    offer: Option<(Asker, upgrade::Offer)>,
    answer: Answer,
) -> Result<Response<ReplyBody>, Refusal> {
    let Answer {
        response,
        lease,
        awaited,
        ..
    } = answer;
    let Awaited {
        mut outcome,
        needles,
        ..
    } = awaited;
    let (context, used) = (Arc::clone(outcome.context()), Arc::clone(outcome.used()));
    outcome.answered(StatusCode::SWITCHING_PROTOCOLS.as_u16());
    let accepted = match offer {
        Some((asker, offer)) => offer.check(&response).map(|()| (asker, offer)),
        None => Err("it changes the protocol without being asked to"),
    };
    let (asker, offer) = accepted.map_err(|why| {
        outcome.failed(Code::UpstreamProtocolError);
        upgrade::unasked(why, context.destination.to_string())
    })?;
    let (mut head, _) = response.into_parts();
    offer.answer(&mut head);
    via::add(&mut head.headers, Version::HTTP_11);
    let client = offer.into_client();
    let mut findings = Findings::default();
    let sent = used.values();
    let needles = needles.with_used(&sent);
    scrub_head(&mut head, &needles, &mut findings);
    outcome.scrubbed(findings.take_entries(&context));
    mark(&mut head, &outcome);
    // Its messages may use credentials later, and the ledger will speak of this request.
    if let Ok(id) = HeaderValue::from_str(&context.id) {
        head.headers.insert(EGRET_REQUEST, id);
    }
    let about = Conversation {
        proxy: Arc::clone(proxy),
        asker,
        context,
        used,
    };
    let deadline = proxy.settings.load().config.proxy.handshake_timeout;
    proxy.tasks.spawn(async move {
        if let Ok(Some((client, upstream))) = timeout(deadline, both(client, lease)).await {
            let _open = measures().open(Kind::WebSocket);
            converse(about, outcome, client, upstream).await;
        }
    });
    Ok(Response::from_parts(head, ReplyBody::full(Bytes::new())))
}

/// The connections, once the client has its answer.
async fn both(client: OnUpgrade, upstream: Lease) -> Option<(TokioIo<Upgraded>, Leftover)> {
    let client = client.await.ok()?;
    Some((TokioIo::new(client), upstream.into_leftover().await?))
}
