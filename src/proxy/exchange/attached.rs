//! Header fields that the owner of a credential has Egret set by itself: for programs that can send no
//! placeholder, such as git before it was asked for a password.
//!
//! The field is put in with its placeholder, before the request is searched. From there on it is as if
//! the client had written it: the same decision, the same record, one way in which a value gets out.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::request::Parts;

use crate::config::{ScanPlace, Treatment};
use crate::policy::decide::{Attempt, decide};
use crate::policy::location::Location;
use crate::proxy::exchange::request_context::RequestContext;
use crate::vault::Vault;
use crate::vault::attachment::{Attachable, spelled};

/// Sets what rules of the caller's principal set in this request. Returns the names of the fields.
pub fn attach(
    context: &RequestContext,
    head: &mut Parts,
    treatment: &Treatment,
    vault: &Vault,
) -> Vec<Arc<str>> {
    let mut attached = Vec::new();
    let rules = vault.attachable(&context.caller.principal, &context.destination);
    // Where headers are not searched, the placeholder would be sent as it is. A client that is bound to
    // a bundle uses what is in there and nothing else.
    let is_searched = treatment.scan.contains(&ScanPlace::Header);
    if rules.is_empty() || !is_searched || context.caller.bundle.is_some() {
        return attached;
    }
    for (credential, rule) in rules {
        let is_set = |name: &Arc<str>| **name == *rule.name;
        let field = (
            rule.name.parse::<HeaderName>(),
            HeaderValue::from_str(&spelled(&rule)),
        );
        let (Ok(name), Ok(value)) = field else {
            continue;
        };
        let is_free = rule.replace || !head.headers.contains_key(&name);
        if is_free && !attached.iter().any(is_set) && covers(context, &(credential, rule)) {
            attached.push(name.as_str().into());
            // A map that is full takes no more: the request goes on as it came.
            if head.headers.try_insert(name, value).is_err() {
                attached.pop();
            }
        }
    }
    attached
}

/// Whether the rule covers the request, and the limits of the credential and of the token do. Where one
/// does not, the request is none that the owner meant, and goes on as it came.
fn covers(context: &RequestContext, (credential, rule): &Attachable) -> bool {
    let caller = &context.caller;
    let attempt = Attempt {
        destination: &context.destination,
        method: context.method.as_str(),
        path: &context.raw_path,
        action: &caller.action,
        location: &Location::Header(rule.name.as_str().into()),
    };
    let slugs = caller.slugs.as_ref();
    rule.covers(&attempt, &caller.client)
        && decide(&credential.grant, &attempt).is_ok()
        && slugs.is_none_or(|slugs| slugs.contains(&credential.slug))
}
