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
use crate::ledger::{Entry, Ledger, event};
use crate::policy::location::Location;
use crate::proxy::exchange::permission::{Use, find, is_here_document};
use crate::proxy::exchange::request_context::{Refused, RequestContext};
use crate::proxy::exchange::used::Used;
use crate::proxy::exchange::uses::{CopyCounts, Passage, Permitted, Uses, Values, together};
use crate::proxy::runtime::measures::measures;
use crate::secret::SecretBytes;
use crate::substitution::edit::SpliceError;
use crate::substitution::slug::Reference;
use crate::vault::cache::Usable;
use crate::vault::{Credential, Vault};

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
        Some(Arc::clone(&uses.find(reference)?.credential))
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
        self.uses.unwritable(context, error)
    }

    /// How often the request has named each of its credentials so far.
    pub fn copies(&self) -> CopyCounts {
        self.uses.copies()
    }

    /// Leaves out of the record what `on_record` knows already, and adds the rest to it: a body that
    /// streams has one line for each slug, however often the slug occurs.
    pub fn only_new(&mut self, on_record: &mut OnRecord) {
        for (reference, count) in self.copies() {
            *on_record.copies.entry(reference).or_default() += count;
        }
        self.uses.retain(|used| {
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
    ) -> Result<(Permitted, Decided), Refused> {
        used.add(&self.values.0);
        used.add(&self.spelled);
        let mut news = ledger.first_uses().news();
        let (mut lines, new) = self.uses.lines(context, &mut news);
        for (reference, location) in &self.ignored {
            used.ignore(reference);
            lines.push(&context.ignored_entry(reference, location));
        }
        if !lines.is_empty() {
            used.set_recorded();
            ledger.commit(lines).await.map_err(Refusal::from)?;
        }
        news.keep();
        for aspect in new {
            measures().first_use(aspect);
        }
        used.add_credentials(self.uses.credentials());
        self.uses.measure();
        Ok((self.values.0, Decided(self.uses)))
    }
}

/// What was decided about a request whose values are not sent yet.
#[derive(Default)]
pub struct Decided(Uses);

impl Decided {
    /// Decides again, by what the store holds now.
    pub async fn check(&self, context: &RequestContext, vault: &Vault) -> Result<(), Refused> {
        if self.0.is_empty() {
            return Ok(());
        }
        let uses = self.0.clone();
        uses.decided_again(context, vault).await.map(drop)
    }
}

/// What of a streamed body is in the ledger.
#[derive(Default)]
pub struct OnRecord {
    uses: BTreeSet<(Reference, u32)>,
    ignored: BTreeSet<Reference>,
    copies: CopyCounts,
}

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
        if names > MOST_NAMES {
            return Err(too_much(context, names));
        }
        Ok(())
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
    Uses::default().unwritable(context, error)
}
