//! The one decision about placeholders: which credential one names, whether it may be used at that
//! place, its value, and the ledger's line about the use.
//!
//! ```text
//! Resolution ─finish─► Resolved ─authorise─► Authorised ─obtain─► Obtained ─record─► Permitted
//! ```
//!
//! A request that is decided on whole ([`super::pipeline`]) and a body that is decided on while it
//! streams ([`super::late`]) take the same steps. Each step consumes the one before, so that no value
//! is opened before it was authorised, and none is handed to a stream before its use is on record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::unix_seconds;
use crate::config::Unresolved;
use crate::error::{Code, Refusal};
use crate::ledger::first_uses::{Aspect, FirstUses, place};
use crate::ledger::{EncodedEntries, Entry, Ledger, Text, event, outcome};
use crate::policy::location::Location;
use crate::policy::use_limits::Rate;
use crate::proxy::exchange::permission::{Use, check, find, is_here_document};
use crate::proxy::exchange::request_context::{Refused, RequestContext, shown_locations};
use crate::proxy::exchange::use_gate::{Intended, UseGate, Whole};
use crate::proxy::exchange::used::Used;
use crate::proxy::runtime::measures::measures;
use crate::secret::SecretBytes;
use crate::substitution::edit::SpliceError;
use crate::substitution::slug::Reference;
use crate::vault::cache::Usable;
use crate::vault::{Credential, Vault};

/// Values that may be written, by what names them.
pub type Permitted = Vec<(Reference, Arc<SecretBytes>)>;

/// Finds the credentials of placeholders, one by one.
pub struct Resolution<'a> {
    context: &'a RequestContext,
    vault: &'a Vault,
    unresolved: Unresolved,
    /// Unix seconds, for expiry.
    now: i64,
    uses: Vec<Use>,
    ignored: BTreeMap<Reference, Location>,
    /// With their order: the client is told about the first.
    refused: BTreeMap<Reference, (usize, Refused)>,
    /// How many placeholders there were.
    places: usize,
}

/// Most different placeholders of one request. Each is a line in the ledger.
pub const MOST_NAMES: usize = 256;
/// Most places of one request where a placeholder occurs.
pub const MOST_PLACES: usize = 16 * 1024;

impl<'a> Resolution<'a> {
    /// Begins to decide about placeholders of one request.
    pub fn new(context: &'a RequestContext, vault: &'a Vault, unresolved: Unresolved) -> Self {
        Self {
            context,
            vault,
            unresolved,
            now: unix_seconds(),
            uses: Vec::new(),
            ignored: BTreeMap::new(),
            refused: BTreeMap::new(),
            places: 0,
        }
    }

    fn is_too_much(&self) -> bool {
        let names = self.ignored.len() + self.refused.len();
        self.places > MOST_PLACES || names > MOST_NAMES
    }

    /// Looks for the credential of one placeholder, at metadata only. Says whether the placeholder is
    /// to be replaced; otherwise it travels literally, or the request is refused at the end.
    ///
    /// `only_if_named` is for header fields that hold a credential only where its grant names that
    /// very field.
    pub fn consider(
        &mut self,
        reference: &Reference,
        location: &Location,
        only_if_named: bool,
    ) -> bool {
        self.places += 1;
        if self.is_too_much() {
            // Refused at the end. Nothing more is kept of it.
            return false;
        }
        match find(self.context, self.vault, reference, self.now) {
            Ok(Usable { credential, shares }) => {
                let mut rules = credential.grant.locations.iter();
                if only_if_named && !rules.any(|rule| rule.allows(location)) {
                    return false;
                }
                self.uses.push(Use {
                    reference: reference.clone(),
                    location: location.clone(),
                    credential,
                    shares,
                    copies: 1,
                    earlier: 0,
                });
                return true;
            }
            Err(_) if only_if_named => {}
            Err(refusal) if self.ignores(&refusal, reference, location) => {
                let place = self.ignored.entry(reference.clone());
                place.or_insert_with(|| location.clone());
            }
            Err(refusal) => {
                let (order, context) = (self.refused.len(), self.context);
                let first = self.refused.entry(reference.clone());
                first.or_insert_with(|| {
                    (order, context.refuse(refusal, reference, None, &[location]))
                });
            }
        }
        false
    }

    fn ignores(&self, refusal: &Refusal, reference: &Reference, location: &Location) -> bool {
        if reference.slug.is_unknown_stand_in() {
            return false;
        }
        let is_literal =
            self.unresolved == Unresolved::Ignore || is_here_document(reference, location);
        refusal.code == Code::CredentialNotFound && is_literal
    }

    /// Every placeholder has a credential or travels literally; or the request is refused, with one
    /// line for each slug.
    pub fn finish(self) -> Result<Resolved, Refused> {
        if self.is_too_much() {
            return Err(too_much(self.context, self.places));
        }
        let mut refused: Vec<_> = self.refused.into_values().collect();
        refused.sort_by_key(|(order, _)| *order);
        match together(refused.into_iter().map(|(_, refused)| refused)) {
            Some(refused) => Err(refused),
            None => {
                let uses = Uses::from_iter(self.uses);
                if uses.each().count() > MOST_NAMES {
                    return Err(too_much(self.context, self.places));
                }
                Ok(Resolved(uses, self.ignored))
            }
        }
    }
}

/// Every placeholder has a credential, or travels literally.
#[derive(Default)]
pub struct Resolved(Uses, BTreeMap<Reference, Location>);

impl Resolved {
    /// Checks every use of every credential against its grant and the token's limits. `signed` is why
    /// the places cannot be changed, if a signature of the client's covers them. `earlier` is what the
    /// same request has named before.
    pub fn authorise(
        self,
        context: &RequestContext,
        signed: Option<&Refusal>,
        earlier: &CopyCounts,
    ) -> Result<Authorised, Refused> {
        let Self(mut uses, ignored) = self;
        if !earlier.is_empty() {
            uses.count_earlier(earlier);
        }
        uses.authorise(context)?;
        let resolved = Self(uses, ignored);
        match signed {
            Some(signed) if !resolved.0.is_empty() => Err(resolved.0.refuse_all(context, signed)),
            _ => Ok(Authorised(resolved)),
        }
    }
}

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

/// Every credential may be used at each of its places.
pub struct Authorised(Resolved);

impl Authorised {
    /// Whether nothing is used.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// The credential that was found for a reference.
    pub fn credential(&self, reference: &Reference) -> Option<Arc<Credential>> {
        let Self(Resolved(uses, _)) = self;
        let mut uses = uses.0.iter();
        let used = uses.find(|used| used.reference == *reference)?;
        Some(Arc::clone(&used.credential))
    }

    /// What travels literally.
    pub fn ignored(&self) -> impl Iterator<Item = &Reference> {
        let Self(Resolved(_, ignored)) = self;
        ignored.keys()
    }

    /// Obtains the values. A stored one is opened here and now; this is the step that waits: for a
    /// value that has to be fetched or made, or until a credential may be used again.
    pub async fn obtain(
        self,
        context: &RequestContext,
        vault: &Vault,
        passage: Passage<'_>,
    ) -> Result<Obtained, Refused> {
        let Self(Resolved(mut uses, ignored)) = self;
        if uses.have_conditions() {
            // In a box: every request has room for this future, and few wait.
            uses = Box::pin(uses.pass(context, vault, passage)).await?;
        }
        let values = uses.open(context, vault)?;
        Ok(Obtained {
            uses,
            ignored,
            values,
            spelled: Permitted::new(),
        })
    }
}

/// The values are here, and no use is on record yet.
pub struct Obtained {
    uses: Uses,
    ignored: BTreeMap<Reference, Location>,
    values: Values,
    /// Spellings of the values that the request carries, where the answer would not be searched for
    /// them otherwise.
    spelled: Permitted,
}

impl Obtained {
    /// A value is sent in this spelling, and may come back in it: base64 of a form-encoded value, for
    /// example, is no base64 of the value.
    pub fn sent_as(&mut self, reference: &Reference, spelling: SecretBytes) {
        self.spelled.push((reference.clone(), Arc::new(spelling)));
    }

    /// Whether nothing is used.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// The value of a reference, to be written into a message that is not sent before
    /// [`Obtained::record`].
    pub fn value(&self, reference: &Reference) -> Option<&SecretBytes> {
        self.values.get(reference)
    }

    /// The same, to be kept for a body that is put together as it is sent.
    pub fn kept_value(&self, reference: &Reference) -> Option<Arc<SecretBytes>> {
        self.values.get_shared(reference).map(Arc::clone)
    }

    /// The refusal of a value that cannot be written at its place.
    pub fn unwritable(&self, context: &RequestContext, error: SpliceError) -> Refused {
        unwritable(context, error, &self.uses)
    }

    /// How often the request has named each of its credentials so far.
    pub fn copies(&self) -> CopyCounts {
        let mut counts = CopyCounts::new();
        for used in &self.uses.0 {
            *counts.entry(used.reference.clone()).or_default() += used.copies;
        }
        counts
    }

    /// Leaves out of the record what `on_record` knows already, and adds the rest to it: a body that
    /// streams has one line for each slug, however often the slug occurs.
    pub fn only_new(&mut self, on_record: &mut OnRecord) {
        for (reference, count) in self.copies() {
            *on_record.copies.entry(reference).or_default() += count;
        }
        self.uses.0.retain(|used| {
            let version = (used.reference.clone(), used.credential.version);
            on_record.uses.insert(version)
        });
        self.ignored
            .retain(|reference, _| on_record.ignored.insert(reference.clone()));
    }

    /// Puts every use on record, durably, and hands out the values.
    ///
    /// From before the line is written the values are looked for in the answer, and a result has to
    /// follow: the client may go away while the disk is written.
    pub async fn record(
        self,
        context: &RequestContext,
        ledger: &Ledger,
        used: &Used,
    ) -> Result<Permitted, Refused> {
        used.add(&self.values.0);
        used.add(&self.spelled);
        let mut lines = self.uses.lines(context, ledger.first_uses());
        for (reference, location) in &self.ignored {
            used.ignore(reference);
            lines.push(&context.ignored_entry(reference, location));
        }
        if !lines.is_empty() {
            used.set_recorded();
            ledger.commit(lines).await.map_err(Refusal::from)?;
        }
        self.uses.measure();
        Ok(self.values.0)
    }
}

/// What of a streamed body is in the ledger.
#[derive(Default)]
pub struct OnRecord {
    uses: BTreeSet<(Reference, u32)>,
    ignored: BTreeSet<Reference>,
    copies: CopyCounts,
}

/// How often a request names each credential.
pub type CopyCounts = BTreeMap<Reference, usize>;

/// A wait that is too short for anything to have changed that was not under way before.
const UNNOTICED: Duration = Duration::from_millis(1);

impl OnRecord {
    /// Nothing, for a request whose head has named credentials so often.
    pub fn after(copies: CopyCounts) -> Self {
        Self {
            copies,
            ..Self::default()
        }
    }

    /// How often the request has named each credential so far.
    pub fn copies(&self) -> &CopyCounts {
        &self.copies
    }

    /// Refuses a body that holds more different placeholders than a request may.
    pub fn check(&self, context: &RequestContext) -> Result<(), Refused> {
        let names = self.uses.len() + self.ignored.len();
        match names > MOST_NAMES {
            true => Err(too_much(context, names)),
            false => Ok(()),
        }
    }
}

/// The refusal of a request with more placeholders than anybody means to send, with one line that
/// says how many: a line for each would let one request fill the ledger.
pub fn too_much(context: &RequestContext, places: usize) -> Refused {
    let refusal = Refusal::new(
        Code::BodyTooLarge,
        format!(
            "the request has placeholders at {places} places; at most {MOST_NAMES} different ones \
             and {MOST_PLACES} places are understood in one request"
        ),
    );
    let about = Entry {
        locations: vec![format!("{places} places").into()],
        ..context.entry(event::DENIED)
    };
    Refused::with_line(refusal, about)
}

/// What the client is told when a value could not be written.
pub fn unwritable_late(context: &RequestContext, error: SpliceError) -> Refused {
    unwritable(context, error, &Uses::default())
}

/// What a request uses and where, in the order of the references, each place once.
#[derive(Default)]
struct Uses(Vec<Use>);

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
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over how often the same request has named what is used here.
    fn count_earlier(&mut self, earlier: &CopyCounts) {
        for used in &mut self.0 {
            used.earlier = earlier.get(&used.reference).copied().unwrap_or_default();
        }
    }

    /// Whether one of the credentials has a budget, or an owner who is asked.
    fn have_conditions(&self) -> bool {
        let has_condition = |used: &Use| {
            let uses = &used.credential.grant.uses;
            uses.budget.is_some() || uses.approve.is_some()
        };
        self.0.iter().any(has_condition)
    }

    /// Waits for the owner's yes, and takes one use of each credential from its budget. What was
    /// decided before a wait is decided again after it.
    async fn pass(
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

    /// Finds and checks everything anew: a credential may have been revoked during a wait.
    async fn decided_again(self, context: &RequestContext, vault: &Vault) -> Result<Self, Refused> {
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
    fn each(&self) -> impl Iterator<Item = (&Use, &[Use])> {
        let same = |one: &Use, other: &Use| one.reference == other.reference;
        let groups = self.0.chunk_by(same);
        groups.filter_map(|places| Some((places.first()?, places)))
    }

    /// Checks every use of every credential against its grant and the token's limits.
    fn authorise(&self, context: &RequestContext) -> Result<(), Refused> {
        let refused = self.each().filter_map(|(used, places)| {
            let refusal = check(context, used, places).err()?;
            Some(refuse_use(context, refusal, used, places))
        });
        together(refused).map_or(Ok(()), Err)
    }

    /// Refuses every use for one reason that lies in the request.
    fn refuse_all(&self, context: &RequestContext, refusal: &Refusal) -> Refused {
        let refused = self
            .each()
            .map(|(used, places)| refuse_use(context, refusal.clone(), used, places));
        together(refused).unwrap_or_else(|| Refused::from(refusal.clone()))
    }

    /// Opens the values. Called once everything is authorised, and not before.
    fn open(&self, context: &RequestContext, vault: &Vault) -> Result<Values, Refused> {
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
    fn measure(&self) {
        for used in &self.0 {
            let credential = &used.credential;
            let name = [credential.owner.as_str(), credential.slug.as_str()];
            measures().substituted(name, &used.location);
        }
    }

    /// The `use` lines.
    fn lines(&self, context: &RequestContext, first_uses: &FirstUses) -> EncodedEntries {
        self.each()
            .map(|(used, places)| {
                let locations = shown_locations(places.iter().map(|used| &used.location));
                Entry {
                    // Its own: in a bundle a request names it by another.
                    slug: Some(used.credential.slug.as_str().into()),
                    version: Some(used.credential.version),
                    owner: Some(used.credential.owner.as_str().into()),
                    outcome: Some(how_used(context, places).into()),
                    first: news(context, used, &locations, first_uses),
                    locations,
                    ..context.entry_for(event::USE, &used.reference)
                }
            })
            .collect()
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
fn news(
    context: &RequestContext,
    used: &Use,
    locations: &[Text<'_>],
    first_uses: &FirstUses,
) -> Option<Vec<Text<'static>>> {
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
    let new = first_uses.note(credential, who.into_iter().chain(places));
    for aspect in &new {
        measures().first_use(*aspect);
    }
    let names = new.into_iter().map(|aspect| aspect.as_str().into());
    let names: Vec<Text<'static>> = names.collect();
    (!names.is_empty()).then_some(names)
}

/// Opened values, wiped when the request has been put together. In the order of the references.
struct Values(Vec<(Reference, Arc<SecretBytes>)>);

impl Values {
    fn get(&self, reference: &Reference) -> Option<&SecretBytes> {
        self.get_shared(reference).map(Arc::as_ref)
    }

    fn get_shared(&self, reference: &Reference) -> Option<&Arc<SecretBytes>> {
        let at = self.0.binary_search_by(|(known, _)| known.cmp(reference));
        Some(&self.0.get(at.ok()?)?.1)
    }
}

fn refuse_use(context: &RequestContext, refusal: Refusal, used: &Use, places: &[Use]) -> Refused {
    let locations: Vec<_> = places.iter().map(|used| &used.location).collect();
    context.refuse(refusal, &used.reference, Some(&used.credential), &locations)
}

fn unwritable(context: &RequestContext, error: SpliceError, uses: &Uses) -> Refused {
    match error {
        SpliceError::Unencodable {
            reference,
            location,
            problem,
        } => {
            let used = uses.0.iter().find(|used| used.reference == reference);
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
            match uses.0.first() {
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
/// Several refusals as one: the first is told, all are recorded.
fn together(refused: impl Iterator<Item = Refused>) -> Option<Refused> {
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
