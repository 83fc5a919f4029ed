//! Whether a credential may be used: which one a placeholder names for its caller, and whether its
//! limits, its shares and the token permit each place.

use std::sync::Arc;

use crate::clock::unix_seconds;
use crate::error::{Code, Refusal};
use crate::policy::decide::{Attempt, Denial, decide, decide_share};
use crate::policy::floor::FloorViolation;
use crate::policy::grant::HostPattern;
use crate::policy::location::{Location, LocationRule};
use crate::policy::use_limits::Copies;
use crate::proxy::exchange::request_context::RequestContext;
use crate::substitution::slug::Reference;
use crate::vault::cache::{Found, Usable};
use crate::vault::people::Share;
use crate::vault::{Credential, Vault};

/// A reference at one place.
#[derive(Clone)]
pub struct Use {
    /// What is named there.
    pub reference: Reference,
    /// Where.
    pub location: Location,
    /// The credential that was found for it.
    pub credential: Arc<Credential>,
    /// The shares through which it may be used; none for its owner.
    pub shares: Vec<Arc<Share>>,
    /// How often it is named there.
    pub copies: usize,
    /// How often the same request has named it before.
    pub earlier: usize,
}

/// Finds the credential that `facts.caller` means by `reference`.
///
/// Unknown, revoked, expired, deleted and other people's get one answer, so that a client cannot
/// find out which slugs exist.
pub fn find(
    context: &RequestContext,
    vault: &Vault,
    reference: &Reference,
    now: i64,
) -> Result<Usable, Refusal> {
    if reference.slug.is_unknown_stand_in() {
        return Err(Refusal::new(
            Code::CredentialNotFound,
            "the request holds a stand-in that is not this principal's, or that was taken back; \
             `egret credential stand-in SLUG` prints one that works",
        ));
    }
    let principal = &context.caller.principal;
    let found = match &context.caller.bundle {
        Some(bundle) => vault.find_in_bundle(principal, bundle, &reference.slug, now),
        None => vault.find(principal, &reference.slug, now),
    };
    match found {
        Found::One(mut usable) => {
            let permitted = vault.check_floor(&mut usable, &context.destination, now);
            let refused = |violation: FloorViolation| {
                Refusal::new(Code::CredentialNotAllowed, violation.to_string())
            };
            permitted.map_err(refused)?;
            if context.caller.is_probe
                && let Some(staged) = usable.credential.with_staged_value()
            {
                usable.credential = Arc::new(staged);
            }
            Ok(usable)
        }
        Found::Unverified => Err(Refusal::new(
            Code::StoreUnavailable,
            "this credential was changed in the store by something that is not Egret, and is not \
             used; the reason is in Egret's log, for its operator",
        )),
        Found::None => Err(Refusal::new(
            Code::CredentialNotFound,
            format!(
                "{principal} has no usable credential of that slug; check its spelling, or save \
                 one with `egret credential add`. If the text is meant literally, write \
                 <<!{reference}>>, or let unknown placeholders pass to this host: in egret.toml, \
                 under [[destination]] with hosts = [\"{}\"], write unresolved = \"ignore\"",
                HostPattern::of(&context.destination)
            ),
        )),
        Found::Ambiguous => Err(Refusal::new(
            Code::CredentialAmbiguous,
            format!(
                "two credentials of that slug are shared with {principal} and none is their own; \
                 unshare one, or save a personal one"
            ),
        )),
    }
}

/// Words that end a here-document in scripts. In a body, `cat <<eof>>file` is shell, unless there is
/// a credential of that slug.
const HERE_DOCUMENTS: [&str; 6] = ["eof", "eot", "eom", "end", "here", "heredoc"];

/// Whether a placeholder is hardly one: a word of a shell's in a body.
pub fn is_here_document(reference: &Reference, location: &Location) -> bool {
    let is_body = matches!(location, Location::Body(_));
    is_body && reference.field.is_none() && HERE_DOCUMENTS.contains(&reference.slug.as_str())
}

/// Whether the caller's principal has a value that may go to the destination of this request, and so may
/// lie there.
pub fn has_value_for_host(context: &RequestContext, vault: &Vault) -> bool {
    let may_go_there = |credential: &Credential| {
        let mut hosts = credential.grant.hosts.iter();
        hosts.any(|host| host.matches(&context.destination))
    };
    let principal = &context.caller.principal;
    vault.any_usable(principal, unix_seconds(), may_go_there)
}

/// Whether `principal` has a credential whose grant lets it be written anywhere in the body of this
/// request. Where there is none, no placeholder in the body can be replaced.
pub fn may_use_in_body(context: &RequestContext, vault: &Vault) -> bool {
    let may_be_used = |credential: &Credential| {
        let is_named = context.caller.slugs.as_ref();
        let mut rules = credential.grant.locations.iter();
        is_named.is_none_or(|slugs| slugs.contains(&credential.slug))
            && rules.any(|rule| {
                let LocationRule::Body(field) = rule else {
                    return false;
                };
                let location = Location::Body(field.clone());
                decide(&credential.grant, &attempt(context, &location)).is_ok()
            })
    };
    vault.any_usable(&context.caller.principal, unix_seconds(), may_be_used)
}

fn attempt<'a>(context: &'a RequestContext, location: &'a Location) -> Attempt<'a> {
    Attempt {
        destination: &context.destination,
        method: context.method.as_str(),
        path: &context.raw_path,
        action: &context.caller.action,
        location,
    }
}

/// Checks each place of one use; the refusal names the first that is not allowed.
pub fn check(context: &RequestContext, used: &Use, places: &[Use]) -> Result<(), Refusal> {
    for location in places.iter().map(|used| &used.location) {
        let attempt = attempt(context, location);
        let denied = |code: Code, detail: &'static str| {
            Refusal::new(code, detail).location(location.to_string())
        };
        decide(&used.credential.grant, &attempt).map_err(|denial| match denial {
            Denial::AmbiguousPath => denied(Code::RequestAmbiguous, denial.detail()),
            _ => denied(Code::CredentialNotAllowed, denial.detail()),
        })?;
        decide_shares(&used.shares, &attempt).map_err(|denial| match denial {
            Denial::AmbiguousPath => denied(Code::RequestAmbiguous, denial.shared_detail()),
            _ => denied(Code::CredentialNotAllowed, denial.shared_detail()),
        })?;
    }
    check_copies(used, places)?;
    check_token(context, &used.reference)?;
    check_field(&used.credential, &used.reference)
}

/// Whether one of the shares permits an attempt. An owner needs none.
fn decide_shares(shares: &[Arc<Share>], attempt: &Attempt<'_>) -> Result<(), Denial> {
    let mut result = Ok(());
    for share in shares {
        result = decide_share(&share.limits, attempt);
        if result.is_ok() {
            break;
        }
    }
    result
}

fn check_copies(used: &Use, places: &[Use]) -> Result<(), Refusal> {
    let limit = used.credential.grant.uses.copies.unwrap_or(Copies::Any);
    let copies = used.earlier + places.iter().map(|place| place.copies).sum::<usize>();
    if limit.permits(copies) {
        return Ok(());
    }
    Err(Refusal::new(
        Code::CredentialNotAllowed,
        format!(
            "the request names this credential {copies} times, and at most {limit} are permitted; a \
             further copy could ride along where others can read it. Its owner can permit more with \
             `egret credential allow SLUG --copies {copies}`"
        ),
    ))
}

fn check_token(context: &RequestContext, reference: &Reference) -> Result<(), Refusal> {
    match &context.caller.slugs {
        Some(slugs) if !slugs.contains(&reference.slug) => Err(Refusal::new(
            Code::CredentialNotAllowed,
            "this action's token is limited to other slugs; mint one with `--slug` for this one",
        )),
        _ => Ok(()),
    }
}

fn check_field(credential: &Credential, reference: &Reference) -> Result<(), Refusal> {
    if credential.has_field(reference.field.as_ref()) {
        return Ok(());
    }
    let fields: Vec<_> = credential
        .field_names()
        .map(|field| format!("<<{}.{field}>>", reference.slug))
        .collect();
    let detail = match fields.is_empty() {
        true => format!(
            "this credential has one value: write <<{}>>",
            reference.slug
        ),
        false => format!("this credential has fields: write {}", fields.join(" or ")),
    };
    Err(Refusal::new(Code::CredentialFieldUnknown, detail))
}
