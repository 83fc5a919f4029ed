//! Where a client may go: asked of each CONNECT before anything is dialled, and of each request.

use std::sync::Arc;

use crate::error::{Code, Refusal};
use crate::identity::Caller;
use crate::ledger::{Entry, Ledger, event};
use crate::policy::destination::{Destination, Scheme};
use crate::policy::egress::{Asked, DecidedBy, Decision, EgressRules, OperatorEgress, Stance};
use crate::policy::grant::HostPattern;
use crate::proxy::exchange::canary;
use crate::proxy::exchange::leak_guard;
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::runtime::counters::Counters;
use crate::proxy::runtime::seen::SeenCounts;
use crate::scrub::Needles;
use crate::vault::Vault;
use crate::vault::cache::UnverifiedRule;

/// What is to be asked about a caller's requests to a destination; `None` where there is nothing.
pub fn rules(
    operator: &OperatorEgress,
    vault: &Vault,
    caller: &Caller,
    destination: &Destination,
) -> Result<Option<Arc<EgressRules>>, Refusal> {
    if canary::is_canary(destination) {
        return Ok(None);
    }
    let rules = vault.egress(&caller.principal, &caller.client, destination, operator);
    let rules = rules.map_err(|UnverifiedRule| {
        Refusal::new(
            Code::StoreUnavailable,
            "a rule about where clients may go was changed in the store by something that is not \
             Egret, so nothing is sent; its number is in Egret's log, and `egret egress remove` \
             removes it",
        )
    })?;
    Ok(rules.map(Arc::new))
}

/// Where it is kept what was refused, or let through while that was only observed.
#[derive(Clone, Copy)]
pub struct Observer<'a> {
    /// What must not be in a line: the values that the caller's principal can use.
    pub needles: &'a Needles,
    /// The record.
    pub ledger: &'a Ledger,
    /// Counts the requests.
    pub counters: &'a Counters,
    /// Where which client went.
    pub seen: &'a SeenCounts,
}

/// Decides about a request. `context` has a path that may be shown.
pub fn check(
    observer: Observer<'_>,
    context: &RequestContext,
    rules: &EgressRules,
) -> Result<(), Refused> {
    carry_out(observer, context, decide(context, rules))
}

/// Decides again about a request that was let through, or about a message of a conversation, when the
/// rules may have become others. It is not counted again.
pub fn check_again(
    needles: &Needles,
    context: &RequestContext,
    rules: &EgressRules,
) -> Result<(), Refused> {
    let decision = decide(context, rules);
    match decision.stance {
        Stance::Allow | Stance::Observe => Ok(()),
        Stance::Deny => Err(refuse(needles, context, decision)),
    }
}

fn decide(context: &RequestContext, rules: &EgressRules) -> Decision {
    rules.decide(&Asked {
        method: context.method.as_str(),
        path: &context.raw_path,
        action: &context.caller.action,
    })
}

/// The rules for a CONNECT, of which nobody knows yet what will be spoken in the tunnel.
pub struct ConnectRules {
    encrypted: Arc<EgressRules>,
    /// `None` where plain HTTP is let through.
    plain: Option<Arc<EgressRules>>,
}

impl ConnectRules {
    /// What is to be asked about a CONNECT; `None` where there is nothing.
    pub fn of(
        operator: &OperatorEgress,
        vault: &Vault,
        context: &RequestContext,
    ) -> Result<Option<Self>, Refusal> {
        let rules_for = |scheme| {
            let destination = Destination {
                scheme,
                ..context.destination.clone()
            };
            rules(operator, vault, &context.caller, &destination)
        };
        let Some(encrypted) = rules_for(Scheme::Https)? else {
            return Ok(None);
        };
        let plain = rules_for(Scheme::Http)?;
        Ok(Some(Self { encrypted, plain }))
    }

    /// Decides about the CONNECT. `is_blind` is for a tunnel into which nobody looks; in any other the
    /// requests are asked about one by one, once it is known whether they are plain or inside TLS.
    pub fn check(
        &self,
        observer: Observer<'_>,
        context: &RequestContext,
        is_blind: bool,
    ) -> Result<(), Refused> {
        if is_blind {
            return carry_out(observer, context, self.encrypted.decide_blind());
        }
        let is_closed = |rules: &EgressRules| rules.decide_connect().stance == Stance::Deny;
        match &self.plain {
            Some(plain) if is_closed(plain) && is_closed(&self.encrypted) => {
                let decision = self.encrypted.decide_connect();
                Err(refuse(observer.needles, context, decision))
            }
            _ => Ok(()),
        }
    }
}

fn carry_out(
    observer: Observer<'_>,
    context: &RequestContext,
    decision: Decision,
) -> Result<(), Refused> {
    match decision.stance {
        Stance::Allow => Ok(()),
        // A line names the destination and the action, which may hold a stored value.
        Stance::Observe if leak_guard::check_named(context, observer.needles).is_err() => Ok(()),
        Stance::Observe => {
            observer.observe(context);
            Ok(())
        }
        Stance::Deny => Err(refuse(observer.needles, context, decision)),
    }
}

impl Observer<'_> {
    /// Counts a request that no rule allows and none denies. The first of a client to a destination is
    /// on record, without its path: it says where the client went.
    fn observe(&self, context: &RequestContext) {
        self.counters.observe();
        let route = (&*context.caller.client, &*context.origin);
        if self.seen.count(&route) > 1 {
            return;
        }
        let line = Entry {
            path: None,
            ..context.entry(event::DESTINATION)
        };
        // Nobody waits for it: nothing of value leaves because of it.
        if self.ledger.append(&line).is_err() {
            tracing::error!(request = %context.id, "a destination could not be recorded");
        }
    }
}

fn refuse(needles: &Needles, context: &RequestContext, decision: Decision) -> Refused {
    // What is told and recorded names the destination and the action.
    if let Err(exposed) = leak_guard::check_named(context, needles) {
        return exposed;
    }
    let client = &context.caller.client;
    let detail = match decision.by {
        DecidedBy::Operator => {
            "the operator does not let any client go to this host (egress.deny)".to_owned()
        }
        DecidedBy::Rule(number) => format!(
            "egress rule {number} does not let the client {client} send this request; `egret egress \
             list` shows the rules, which an administrator can change"
        ),
        DecidedBy::Default => format!(
            "no rule lets the client {client} send this request; an administrator can add one with \
             `egret egress allow {} --client {client}`",
            HostPattern::of(&context.destination)
        ),
    };
    let refusal = Refusal::new(Code::DestinationNotAllowed, detail)
        .destination(context.destination.to_string());
    Refused::with_line(refusal, context.entry(event::DENIED))
}
