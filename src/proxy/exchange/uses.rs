//! What a request uses and where: whether every use is allowed, its value, and the ledger's line about
//! it. The order of these steps is [`super::authorisation`]'s.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::unix_seconds;
use crate::error::{Code, Refusal};
use crate::ledger::first_uses::{Aspect, News, place};
use crate::ledger::{EncodedEntries, Entry, Ledger, Text, event, outcome};
use crate::policy::location::Location;
use crate::policy::use_limits::Rate;
use crate::proxy::exchange::permission::{Use, check, find};
use crate::proxy::exchange::request_context::{Refused, RequestContext, shown_locations};
use crate::proxy::exchange::use_gate::{Intended, UseGate, Whole};
use crate::proxy::runtime::measures::measures;
use crate::secret::SecretBytes;
use crate::substitution::edit::SpliceError;
use crate::substitution::slug::Reference;
use crate::vault::cache::Usable;
use crate::vault::{Credential, Vault};

/// Values that may be written, by what names them.
pub type Permitted = Vec<(Reference, Arc<SecretBytes>)>;

/// How often a request names each credential.
pub type CopyCounts = BTreeMap<Reference, usize>;

/// A wait that is too short for anything to have changed that was not under way before.
const UNNOTICED: Duration = Duration::from_millis(1);

/// What a use passes on its way to the value.
#[derive(Clone, Copy)]
pub struct Passage<'a> {
    /// Budgets, and owners who are asked.
    pub gate: &'a UseGate,
    /// The record, for what owners said.
    pub ledger: &'a Ledger,
    /// What can be shown of the request.
    pub whole: Whole<'a>,
}

/// What a request uses and where, in the order of the references, each place once.
#[derive(Clone, Default)]
pub struct Uses(Vec<Use>);

impl FromIterator<Use> for Uses {
    fn from_iter<I: IntoIterator<Item = Use>>(uses: I) -> Self {
        fn place(used: &Use) -> (&Reference, &Location) {
            (&used.reference, &used.location)
        }
        let mut uses = Vec::from_iter(uses);
        uses.sort_by(|one, other| place(one).cmp(&place(other)));
        uses.dedup_by(|one, other| {
            let is_same = place(one) == place(other);
            if is_same {
                other.copies += one.copies;
            }
            is_same
        });
        Self(uses)
    }
}

impl Uses {
    /// Whether nothing is used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first use of a reference.
    pub fn find(&self, reference: &Reference) -> Option<&Use> {
        self.0.iter().find(|used| used.reference == *reference)
    }

    /// How often the request names each of its credentials.
    pub fn copies(&self) -> CopyCounts {
        let mut counts = CopyCounts::new();
        for used in &self.0 {
            *counts.entry(used.reference.clone()).or_default() += used.copies;
        }
        counts
    }

    /// Leaves out those that are not to be kept.
    pub fn retain(&mut self, keep: impl FnMut(&Use) -> bool) {
        self.0.retain(keep);
    }

    /// Takes over how often the same request has named what is used here.
    pub fn count_earlier(&mut self, earlier: &CopyCounts) {
        for used in &mut self.0 {
            used.earlier = earlier.get(&used.reference).copied().unwrap_or_default();
        }
    }

    /// Whether one of the credentials has a budget, or an owner who is asked.
    pub fn have_conditions(&self) -> bool {
        let has_condition = |used: &Use| {
            let uses = &used.credential.grant.uses;
            uses.budget.is_some() || uses.approve.is_some()
        };
        self.0.iter().any(has_condition)
    }

    /// Waits for the owner's yes, and takes one use of each credential from its budget. What was
    /// decided before a wait is decided again after it.
    pub async fn pass(
        self,
        context: &RequestContext,
        vault: &Vault,
        passage: Passage<'_>,
    ) -> Result<Self, Refused> {
        let started = Instant::now();
        let mut last = None;
        for (used, places) in self.each().filter(|(used, _)| used.earlier == 0) {
            let credential = &*used.credential;
            let name = (&credential.owner, &credential.slug);
            // The fields of a credential are one use.
            if last.replace(name) == Some(name) {
                continue;
            }
            let refuse = |refusal| refuse_use(context, refusal, used, places);
            if let Some(mode) = credential.grant.uses.approve {
                let intended = Intended {
                    context,
                    credential,
                    places: self.places_of(credential),
                    whole: passage.whole,
                };
                let gate = passage.gate;
                let approved = gate.approve(&intended, mode, vault, passage.ledger);
                approved.await.map_err(refuse)?;
            }
            if let Some(rate) = credential.grant.uses.budget {
                let taken = passage.gate.budgets.take_soon(&name, rate).await;
                taken.map_err(|wait| refuse(over_budget(rate, wait)))?;
            }
        }
        if started.elapsed() < UNNOTICED {
            return Ok(self);
        }
        self.decided_again(context, vault).await
    }

    /// Where a credential is named, by any of its fields.
    fn places_of(&self, credential: &Credential) -> Vec<&Location> {
        let is_of = |used: &&Use| {
            let other = &used.credential;
            (&other.owner, &other.slug) == (&credential.owner, &credential.slug)
        };
        let places = self.0.iter().filter(is_of);
        places.map(|used| &used.location).collect()
    }

    /// Finds and checks everything again: a credential may have been revoked during a wait.
    pub async fn decided_again(
        self,
        context: &RequestContext,
        vault: &Vault,
    ) -> Result<Self, Refused> {
        vault.refresh().await.map_err(Refusal::from)?;
        let now = unix_seconds();
        let again =
            self.0
                .into_iter()
                .map(|used| match find(context, vault, &used.reference, now) {
                    Ok(Usable { credential, shares }) => Ok(Use {
                        credential,
                        shares,
                        ..used
                    }),
                    Err(refusal) => {
                        let Use {
                            reference,
                            location,
                            ..
                        } = &used;
                        Err(context.refuse(refusal, reference, None, &[location]))
                    }
                });
        let uses = Self(again.collect::<Result<_, _>>()?);
        uses.authorise(context)?;
        Ok(uses)
    }

    /// What is used, each with all of its places.
    pub fn each(&self) -> impl Iterator<Item = (&Use, &[Use])> {
        let same = |one: &Use, other: &Use| one.reference == other.reference;
        let groups = self.0.chunk_by(same);
        groups.filter_map(|places| Some((places.first()?, places)))
    }

    /// Checks every use of every credential against its grant and the token's limits.
    pub fn authorise(&self, context: &RequestContext) -> Result<(), Refused> {
        let refused = self.each().filter_map(|(used, places)| {
            let refusal = check(context, used, places).err()?;
            Some(refuse_use(context, refusal, used, places))
        });
        together(refused).map_or(Ok(()), Err)
    }

    /// Refuses every use for one reason that lies in the request.
    pub fn refuse_all(&self, context: &RequestContext, refusal: &Refusal) -> Refused {
        let refused = self
            .each()
            .map(|(used, places)| refuse_use(context, refusal.clone(), used, places));
        together(refused).unwrap_or_else(|| Refused::from(refusal.clone()))
    }

    /// The refusal of a value that cannot be written at its place.
    pub fn unwritable(&self, context: &RequestContext, error: SpliceError) -> Refused {
        match error {
            SpliceError::Unencodable {
                reference,
                location,
                problem,
            } => {
                let used = self.0.iter().find(|used| used.reference == reference);
                let credential = used.map(|used| &*used.credential);
                let refusal = Refusal::new(Code::CredentialUnencodable, problem.reason);
                context.refuse(refusal, &reference, credential, &[&location])
            }
            SpliceError::TargetTooLong => {
                let refusal = Refusal::new(
                    Code::TargetTooLong,
                    "with the values put in, the request target would be too long; put the value into a \
                     header or the body",
                );
                match self.0.first() {
                    Some(used) => refuse_use(context, refusal, used, std::slice::from_ref(used)),
                    None => refusal.into(),
                }
            }
            SpliceError::HeadTooLarge => Refused::from(Refusal::new(
                Code::HeadersTooLarge,
                "with the values put in, the request's head would be too large; use fewer placeholders, \
                 or put the value into the body",
            )),
            SpliceError::TooLarge => Refused::from(Refusal::new(
                Code::BodyTooLarge,
                "with the values put in, the request would be too large; use fewer placeholders",
            )),
            SpliceError::Missing(_) | SpliceError::Misplaced => Refused::from(Refusal::new(
                Code::Internal,
                "the request could not be put together",
            )),
        }
    }

    /// Opens the values. Called once everything is authorised, and not before.
    pub fn open(&self, context: &RequestContext, vault: &Vault) -> Result<Values, Refused> {
        let opened = self.each().map(|(used, places)| {
            let reference = &used.reference;
            match vault.open_value(&used.credential, reference.field.as_ref()) {
                Ok(value) => Ok((reference.clone(), value)),
                Err(_) => {
                    let refusal = Refusal::new(
                        Code::StoreUnavailable,
                        "the stored value cannot be opened with the current master key; see \
                         keys.master",
                    );
                    Err(refuse_use(context, refusal, used, places))
                }
            }
        });
        Ok(Values(opened.collect::<Result<_, _>>()?))
    }

    /// Counts them, once they are on record.
    pub fn measure(&self) {
        for used in &self.0 {
            let credential = &used.credential;
            let name = [credential.owner.as_str(), credential.slug.as_str()];
            measures().substituted(name, &used.location);
        }
    }

    /// The credentials, with the versions that are used.
    pub fn credentials(&self) -> impl Iterator<Item = &Arc<Credential>> {
        self.0.iter().map(|used| &used.credential)
    }

    /// The `use` lines, and what is new about the uses.
    pub fn lines(
        &self,
        context: &RequestContext,
        news: &mut News<'_>,
    ) -> (EncodedEntries, Vec<Aspect>) {
        let mut all_new = Vec::new();
        let lines = self.each().map(|(used, places)| {
            let locations = shown_locations(places.iter().map(|used| &used.location));
            let new = what_is_new(context, used, &locations, news);
            let names = new.iter().map(|aspect| aspect.as_str().into());
            let first = (!new.is_empty()).then(|| names.collect());
            all_new.extend(new);
            Entry {
                // Its own: in a bundle a request names it by another.
                slug: Some(used.credential.slug.as_str().into()),
                version: Some(used.credential.version),
                owner: Some(used.credential.owner.as_str().into()),
                outcome: Some(how_used(context, places).into()),
                first,
                locations,
                ..context.entry_for(event::USE, &used.reference)
            }
        });
        (lines.collect(), all_new)
    }
}

fn how_used(context: &RequestContext, places: &[Use]) -> &'static str {
    let mut locations = places.iter().map(|used| &used.location);
    if locations.any(|location| context.is_attached(location)) {
        outcome::ATTACHED
    } else {
        outcome::USED
    }
}

/// What is new about a use.
fn what_is_new(
    context: &RequestContext,
    used: &Use,
    locations: &[Text<'_>],
    news: &mut News<'_>,
) -> Vec<Aspect> {
    let credential = (
        used.credential.owner.as_str(),
        used.credential.slug.as_str(),
    );
    let caller = &context.caller;
    let who = [
        (Aspect::Action, &*caller.action),
        (Aspect::Client, &*caller.client),
        (Aspect::Destination, &*context.origin),
    ];
    let places = locations
        .iter()
        .map(|location| (Aspect::Location, place(location)));
    news.note(credential, who.into_iter().chain(places))
}

/// Opened values, wiped when the request has been put together. In the order of the references.
pub struct Values(pub Permitted);

impl Values {
    /// The value of a reference.
    pub fn get(&self, reference: &Reference) -> Option<&SecretBytes> {
        self.get_shared(reference).map(Arc::as_ref)
    }

    /// The same, to be kept.
    pub fn get_shared(&self, reference: &Reference) -> Option<&Arc<SecretBytes>> {
        let at = self.0.binary_search_by(|(known, _)| known.cmp(reference));
        Some(&self.0.get(at.ok()?)?.1)
    }
}

fn refuse_use(context: &RequestContext, refusal: Refusal, used: &Use, places: &[Use]) -> Refused {
    let locations: Vec<_> = places.iter().map(|used| &used.location).collect();
    context.refuse(refusal, &used.reference, Some(&used.credential), &locations)
}

/// Several refusals as one: the first is told, all are recorded.
pub fn together(refused: impl Iterator<Item = Refused>) -> Option<Refused> {
    refused.reduce(|mut first, next| {
        first.denied.append(&next.denied);
        first
    })
}

fn over_budget(rate: Rate, wait: Duration) -> Refusal {
    let detail =
        format!("this credential may be used {rate} (`--max-uses`), and was; try again later");
    Refusal::new(Code::RateLimited, detail).retry_after(wait)
}
