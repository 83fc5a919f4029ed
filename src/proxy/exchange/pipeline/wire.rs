//! The head as the upstream gets it.

use std::sync::Arc;

use http::header::{self, HeaderValue};
use http::{Method, Request, Version};

use super::{Exchange, ExchangeContext, Recorded};
use crate::proxy::exchange::awaited::{Asked, Awaited, wants_opaque};
use crate::proxy::exchange::hop_by_hop;
use crate::proxy::exchange::message_codings;
use crate::proxy::exchange::out_body::OutBody;
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::upgrade;
use crate::proxy::exchange::used::Used;
use crate::scrub::Needles;

impl Exchange<Recorded> {
    /// The version of HTTP that the client speaks.
    pub fn version(&self) -> Version {
        self.about.head.version
    }

    /// What answers are searched for, and what the request has sent.
    pub fn secrets(&self) -> (&Arc<Needles>, &Arc<Used>) {
        (&self.about.needles, self.state.outcome.used())
    }

    /// Takes the exchange apart for the wire. Only [`crate::proxy::outbound::upstream`] calls this.
    pub(in crate::proxy) fn into_wire(self) -> (Request<OutBody>, Awaited) {
        let ExchangeContext {
            mut head,
            present,
            needles,
            ..
        } = *self.about;
        let Recorded {
            body,
            reframed,
            outcome,
            decided,
        } = self.state;
        let headers = &mut head.headers;
        let framing = Present::CONTENT_LENGTH.and(Present::TRANSFER_ENCODING);
        let reframed = reframed && present.has(framing);
        let is_upgrade = head.extensions.get::<upgrade::Asked>().is_some();
        let mut takes_trailers = head.version == Version::HTTP_2;
        if is_upgrade {
            upgrade::renew(headers);
        } else if present.has(Present::ENDS_HERE) {
            takes_trailers |= hop_by_hop::strip(headers);
        }
        // Unless the upstream is asked, the body is here or was asked for.
        if present.has(Present::EXPECT)
            && body
                .transfer()
                .is_none_or(|upload| upload.expectation().is_none())
        {
            headers.remove(header::EXPECT);
        }
        if reframed {
            headers.remove(header::CONTENT_LENGTH);
            if let Some(length) = http_body::Body::size_hint(&body).exact() {
                headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        let asked = Asked {
            part: present.has(Present::RANGE) && headers.contains_key(header::RANGE),
            has_authorization: present.has(Present::AUTHORIZATION),
            accept_encoding: if present.has(Present::ACCEPT_ENCODING) {
                message_codings::narrow_accept_encoding(headers)
            } else {
                Vec::new()
            },
            takes_trailers,
            opaque_head: head.method == Method::HEAD && wants_opaque(&head.headers),
        };
        message_codings::narrow(&mut head);
        let awaited = Awaited {
            outcome,
            decided,
            needles,
            asked,
        };
        (Request::from_parts(head, body), awaited)
    }
}
