//! How many requests a client may send: in a time, and at once.

use crate::error::{Code, Refusal};
use crate::ledger::event;
use crate::proxy::context::{Proxy, Settings};
use crate::proxy::exchange::leak_guard;
use crate::proxy::exchange::pipeline::{Authenticated, Exchange};
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::runtime::budget::LONGEST_DELAY;

/// Lets a request in, if need be after a short time.
pub async fn admit(
    proxy: &Proxy,
    settings: &Settings,
    mut exchange: Exchange<Authenticated>,
) -> Result<Exchange<Authenticated>, Refused> {
    let egress = &settings.config.egress;
    let client = exchange.context().caller.client.clone();
    if let Some(rate) = egress.client_rate
        && let Err(wait) = proxy.gate.budgets.take_soon(&client, rate).await
    {
        let detail = format!(
            "the client {client} may send {rate} requests (egress.client_rate), and did; try again \
             later"
        );
        let refusal = Refusal::new(Code::RateLimited, detail).retry_after(wait);
        return Err(refuse(proxy, exchange.context(), refusal));
    }
    if let Some(most) = egress.client_requests {
        let shares = &proxy.fair_shares;
        match shares.take(&client, most, LONGEST_DELAY).await {
            Some(place) => exchange.set_place(place),
            None => {
                let detail = format!(
                    "the client {client} has {most} requests under way, and may have no more \
                     (egress.client_requests); wait for an answer, and try again"
                );
                let refusal = Refusal::new(Code::RateLimited, detail).retry_after(LONGEST_DELAY);
                return Err(refuse(proxy, exchange.context(), refusal));
            }
        }
    }
    Ok(exchange)
}

fn refuse(proxy: &Proxy, context: &RequestContext, refusal: Refusal) -> Refused {
    let needles = proxy
        .needle_cache
        .needles(&proxy.vault, &context.caller.principal);
    let context = RequestContext {
        // The line must not hold a value that the path carries.
        path: leak_guard::shown(&needles, &context.raw_path),
        ..context.clone()
    };
    match leak_guard::check_named(&context, &needles) {
        Ok(()) => Refused::with_line(refusal, context.entry(event::DENIED)),
        Err(exposed) => exposed,
    }
}
