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

use crate::clock::unix_seconds;
use crate::config::Unresolved;
use crate::error::{Code, Refusal};
use crate::ledger::{Draft, Entry, Ledger, event, outcome};
use crate::policy::decide::{Attempt, Denial, decide};
use crate::policy::location::Location;
use crate::proxy::exchange::request_context::{Refused, RequestContext, shown_locations};
use crate::proxy::exchange::used::Used;
use crate::secret::SecretBytes;
use crate::substitution::edit::SpliceError;
use crate::substitution::slug::Reference;
use crate::vault::cache::Found;
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
            Ok(credential) => {
                let mut rules = credential.grant.locations.iter();
                if only_if_named && !rules.any(|rule| rule.allows(location)) {
                    return false;
                }
                self.uses.push(Use {
                    reference: reference.clone(),
                    location: location.clone(),
                    credential,
                });
                return true;
            }
            Err(_) if only_if_named => {}
            Err(refusal) if self.ignores(&refusal) => {
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

    fn ignores(&self, refusal: &Refusal) -> bool {
        refusal.code == Code::CredentialNotFound && self.unresolved == Unresolved::Ignore
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
    /// the places cannot be changed, if a signature of the client's covers them.
    pub fn authorise(
        self,
        context: &RequestContext,
        signed: Option<&Refusal>,
    ) -> Result<Authorised, Refused> {
        self.0.authorise(context)?;
        match signed {
            Some(signed) if !self.0.is_empty() => Err(self.0.refuse_all(context, signed)),
            _ => Ok(Authorised(self)),
        }
    }
}

/// Every credential may be used at each of its places.
pub struct Authorised(Resolved);

impl Authorised {
    /// Obtains the values. A stored one is opened here and now; this is the step that waits for a
    /// value that has to be fetched or made.
    pub async fn obtain(
        self,
        context: &RequestContext,
        vault: &Vault,
    ) -> Result<Obtained, Refused> {
        let Self(Resolved(uses, ignored)) = self;
        let values = uses.open(context, vault)?;
        Ok(Obtained {
            uses,
            ignored,
            values,
        })
    }
}

/// The values are here, and no use is on record yet.
pub struct Obtained {
    uses: Uses,
    ignored: BTreeMap<Reference, Location>,
    values: Values,
}

impl Obtained {
    /// Whether nothing is used.
    pub fn is_empty(&self) -> bool {
        self.uses.is_empty()
    }

    /// The value of a reference, to be written into a message that is not sent before
    /// [`Obtained::record`].
    pub fn value(&self, reference: &Reference) -> Option<&SecretBytes> {
        self.values.get(reference)
    }

    /// The refusal of a value that cannot be written at its place.
    pub fn unwritable(&self, context: &RequestContext, error: SpliceError) -> Refused {
        unwritable(context, error, &self.uses)
    }

    /// Leaves out of the record what `on_record` knows already, and adds the rest to it: a body that
    /// streams has one line for each slug, however often the slug occurs.
    pub fn only_new(&mut self, on_record: &mut OnRecord) {
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
        let mut lines = self.uses.lines(context);
        for (reference, location) in &self.ignored {
            used.ignore(reference);
            lines.push(&context.ignored_entry(reference, location));
        }
        if !lines.is_empty() {
            used.set_recorded();
            ledger.commit(lines).await.map_err(Refusal::from)?;
        }
        Ok(self.values.0)
    }
}

/// What of a streamed body is in the ledger.
#[derive(Default)]
pub struct OnRecord {
    uses: BTreeSet<(Reference, u32)>,
    ignored: BTreeSet<Reference>,
}

impl OnRecord {
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
fn too_much(context: &RequestContext, places: usize) -> Refused {
    let refusal = Refusal::new(
        Code::BodyTooLarge,
        format!(
            "the request has placeholders at {places} places; at most {MOST_NAMES} different ones \
             and {MOST_PLACES} places are understood in one request"
        ),
    );
    let line = Entry {
        locations: vec![format!("{places} places").into()],
        outcome: Some(outcome::DENIED.into()),
        code: Some(refusal.code.as_str().into()),
        status: Some(refusal.code.status()),
        ..context.entry(event::DENIED)
    };
    let denied = line.encode();
    Refused { refusal, denied }
}

/// What the client is told when a value could not be written.
pub fn unwritable_late(context: &RequestContext, error: SpliceError) -> Refused {
    unwritable(context, error, &Uses::default())
}

/// What a request uses and where, in the order of the references, each place once.
#[derive(Default)]
struct Uses(Vec<Use>);

/// A reference at one place.
struct Use {
    /// What is named there.
    pub reference: Reference,
    /// Where.
    pub location: Location,
    /// The credential that was found for it.
    pub credential: Arc<Credential>,
}

impl FromIterator<Use> for Uses {
    fn from_iter<I: IntoIterator<Item = Use>>(uses: I) -> Self {
        fn place(used: &Use) -> (&Reference, &Location) {
            (&used.reference, &used.location)
        }
        let mut uses = Vec::from_iter(uses);
        uses.sort_by(|one, other| place(one).cmp(&place(other)));
        uses.dedup_by(|one, other| place(one) == place(other));
        Self(uses)
    }
}

impl Uses {
    /// Whether nothing is used.
    fn is_empty(&self) -> bool {
        self.0.is_empty()
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

    /// The `use` lines.
    fn lines(&self, context: &RequestContext) -> Draft {
        self.each()
            .map(|(used, places)| Entry {
                version: Some(used.credential.version),
                owner: Some(used.credential.owner.as_str().into()),
                locations: shown_locations(places.iter().map(|used| &used.location)),
                outcome: Some(outcome::USED.into()),
                ..context.entry_for(event::USE, &used.reference)
            })
            .collect()
    }
}

/// Opened values, wiped when the request has been put together. In the order of the references.
struct Values(Vec<(Reference, Arc<SecretBytes>)>);

impl Values {
    fn get(&self, reference: &Reference) -> Option<&SecretBytes> {
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
/// Finds the credential that `facts.caller` means by `reference`.
///
/// Unknown, revoked, expired, deleted and other people's get one answer, so that a client cannot
/// find out which slugs exist.
fn find(
    context: &RequestContext,
    vault: &Vault,
    reference: &Reference,
    now: i64,
) -> Result<Arc<Credential>, Refusal> {
    let principal = &context.caller.principal;
    match vault.find(principal, &reference.slug, now) {
        Found::One(credential) => Ok(credential),
        Found::None => Err(Refusal::new(
            Code::CredentialNotFound,
            format!(
                "{principal} has no usable credential of that slug; check its spelling, or save \
                 one with `egret credential add`"
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

/// Several refusals as one: the first is told, all are recorded.
fn together(refused: impl Iterator<Item = Refused>) -> Option<Refused> {
    refused.reduce(|mut first, next| {
        first.denied.append(&next.denied);
        first
    })
}

/// Checks each place of one use; the refusal names the first that is not allowed.
fn check(context: &RequestContext, used: &Use, places: &[Use]) -> Result<(), Refusal> {
    for location in places.iter().map(|used| &used.location) {
        let attempt = Attempt {
            destination: &context.destination,
            method: context.method.as_str(),
            path: &context.raw_path,
            action: &context.caller.action,
            location,
        };
        decide(&used.credential.grant, &attempt).map_err(|denial| {
            let code = match denial {
                Denial::AmbiguousPath => Code::RequestAmbiguous,
                _ => Code::CredentialNotAllowed,
            };
            Refusal::new(code, denial.detail()).location(location.to_string())
        })?;
    }
    check_token(context, &used.reference)?;
    check_field(&used.credential, &used.reference)
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
