//! Decides about a request as the pipeline does, and stops before a value is opened.

use std::sync::Arc;
use std::time::Instant;

use http::Request;

use crate::config::Config;
use crate::error::Refusal;
use crate::identity::Caller;
use crate::policy::destination::Destination;
use crate::proxy::exchange::body::InboundBody;
use crate::proxy::exchange::egress;
use crate::proxy::exchange::leak_guard;
use crate::proxy::exchange::needle_cache::NeedleCache;
use crate::proxy::exchange::payload::BodyLimits;
use crate::proxy::exchange::pipeline::Exchange;
use crate::proxy::exchange::plan::Plan;
use crate::proxy::exchange::present::Present;
use crate::proxy::exchange::request_context::{RequestContext, shown_path};
use crate::proxy::exchange::request_id::RequestIds;
use crate::proxy::exchange::spool::SpoolSpace;
use crate::proxy::exchange::stand_ins;
use crate::proxy::runtime::origin::Origin;
use crate::vault::Vault;

/// What would be done with this request of `caller` to `destination`. Its target is in origin form.
///
/// # Errors
/// Why it would be refused.
pub async fn explain(
    config: &Config,
    vault: &Vault,
    caller: Caller,
    destination: &Destination,
    request: Request<InboundBody>,
) -> Result<Plan, Refusal> {
    let (head, body) = request.into_parts();
    let treatment = config.treatment(destination);
    let needles = NeedleCache::default().needles(vault, &caller.principal);
    let limits = BodyLimits {
        buffer: config.body.buffer,
        spool: config.body.spool,
        space: &SpoolSpace::new(config.data_dir.clone()),
    };
    let raw_path = Arc::<str>::from(head.uri.path());
    let rules = egress::rules(&config.egress.rules, vault, &caller, destination)?;
    let mut context = RequestContext {
        id: RequestIds::new(0).next(),
        destination: destination.clone(),
        origin: Origin::from(destination),
        method: head.method.clone(),
        path: shown_path(Arc::clone(&raw_path)),
        raw_path,
        started: Instant::now(),
        held_placeholder: false,
        attached: Vec::new(),
        stand_ins: stand_ins::search(vault, &caller),
        caller: Arc::new(caller),
        place: None,
        trace: None,
    };
    if let Some(rules) = rules {
        context.path = leak_guard::shown(&needles, &context.raw_path);
        egress::check_again(&needles, &context, &rules).map_err(|refused| refused.refusal)?;
    }
    let present = Present::of(&head.headers);
    let exchange = Exchange::new(context, head, present, body, treatment, needles);
    let scanned = exchange.scan(limits, vault, None).await;
    let scanned = scanned.map_err(|refused| refused.refusal)?;
    let resolved = scanned.resolve(vault).map_err(|refused| refused.refusal)?;
    let authorised = resolved.authorise();
    Ok(authorised.map_err(|refused| refused.refusal)?.plan())
}
