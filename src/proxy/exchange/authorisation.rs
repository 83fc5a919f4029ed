//! Which credential stands behind a placeholder, whether it may be used there, and what the ledger
//! is told. Shared by requests that are decided on whole ([`crate::proxy::exchange::pipeline`]) and by bodies that
//! are decided on as they stream ([`crate::proxy::exchange::late`]).

use std::sync::Arc;
use std::time::Instant;

use http::Method;

use crate::error::{Code, Refusal};
use crate::identity::Caller;
use crate::ledger::format::record::{Entry, event, outcome};
use crate::ledger::{Draft, Ledger};
use crate::policy::decide::{Attempt, Denial, decide};
use crate::policy::destination::Destination;
use crate::policy::location::Location;
use crate::proxy::exchange::request_id::RequestId;
use crate::secret::SecretBytes;
use crate::substitution::edit::SpliceError;
use crate::substitution::slug::Reference;
use crate::vault::cache::Found;
use crate::vault::{Credential, Vault};

/// What is known about a request whatever its state. Nothing in it is secret.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The request's id, `Egret-Request`.
    pub id: RequestId,
    /// Who asks, and for what.
    pub caller: Arc<Caller>,
    /// Where it goes.
    pub destination: Destination,
    /// The same as ledger and log show it, `https://host:port`.
    pub origin: Arc<str>,
    /// The method as sent.
    pub method: Method,
    /// The path as sent, for path rules. Empty for a request whose target has none.
    pub raw_path: Arc<str>,
    /// The path with placeholders in place and without a query, for people. Without stored values
    /// from the scan on, which comes first.
    pub path: Arc<str>,
    /// When its head had arrived.
    pub started: Instant,
    /// Whether it held a placeholder.
    pub held_placeholder: bool,
    /// Slugs that were passed on literally.
    pub ignored: Vec<String>,
}

/// A refused exchange: what the client is told, and the lines that the ledger gets.
#[derive(Debug)]
pub struct Refused {
    /// The answer.
    pub refusal: Refusal,
    /// `denied` lines, one for each slug that was refused.
    pub denied: Draft,
}

impl Refused {
    /// Writes the lines; what remains is the answer. Nothing left the process, so it stands also
    /// when the ledger does not take them.
    pub async fn record(self, ledger: &Ledger, request: &str) -> Refusal {
        if !self.denied.is_empty() && ledger.commit(self.denied).await.is_err() {
            tracing::error!(request, "a denial could not be written to the ledger");
        }
        self.refusal
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self {
            refusal,
            denied: Draft::default(),
        }
    }
}

impl RequestContext {
    /// A ledger line about this request.
    pub fn entry(&self, event: &'static str) -> Entry<'_> {
        let Caller {
            client,
            principal,
            action,
            action_source,
            run,
            slugs: _,
            expires: _,
        } = &*self.caller;
        Entry {
            request: Some((&*self.id).into()),
            principal: Some(principal.as_str().into()),
            client: Some((&**client).into()),
            action: Some((&**action).into()),
            action_source: Some(action_source.as_str().into()),
            run: run.as_deref().map(Into::into),
            method: Some(self.method.as_str().into()),
            destination: Some(self.origin.as_ref().into()),
            path: Some((&*self.path).into()),
            ..Entry::new(event)
        }
    }

    fn entry_for<'a>(&'a self, event: &'static str, reference: &'a Reference) -> Entry<'a> {
        let field = reference.field.as_ref();
        Entry {
            slug: Some(reference.slug.as_str().into()),
            field: field.map(|field| field.as_str().into()),
            ..self.entry(event)
        }
    }

    /// The line for a placeholder that travels literally.
    pub fn ignored_entry<'a>(&'a self, reference: &'a Reference, location: &Location) -> Entry<'a> {
        Entry {
            locations: vec![location.text()],
            outcome: Some("ignored".into()),
            ..self.entry_for(event::IGNORED, reference)
        }
    }

    /// A line about the stored value called `name`, `slug` or `slug.field`.
    pub fn entry_named<'a>(&'a self, event: &'static str, name: &'a str) -> Entry<'a> {
        let (slug, field) = match name.split_once('.') {
            Some((slug, field)) => (slug, Some(field)),
            None => (name, None),
        };
        Entry {
            slug: Some(slug.into()),
            field: field.map(Into::into),
            ..self.entry(event)
        }
    }

    /// A refusal that concerns one placeholder, with its `denied` line.
    pub fn refuse(
        &self,
        refusal: Refusal,
        reference: &Reference,
        used: Option<&Credential>,
        locations: &[&Location],
    ) -> Refused {
        let line = Entry {
            version: used.map(|credential| credential.version),
            owner: used.map(|credential| credential.owner.as_str().into()),
            locations: locations.iter().map(|location| location.text()).collect(),
            outcome: Some(outcome::DENIED.into()),
            code: Some(refusal.code.as_str().into()),
            status: Some(refusal.code.status()),
            ..self.entry_for(event::DENIED, reference)
        };
        let mut refusal = refusal
            .slug(reference.slug.as_str())
            .destination(self.destination.to_string());
        if refusal.location.is_none() {
            refusal.location = locations.first().map(ToString::to_string);
        }
        Refused {
            refusal,
            denied: line.draft(),
        }
    }
}

/// What a request uses and where, in the order of the references, each place once.
#[derive(Default)]
pub struct Uses(Vec<Use>);

/// A reference at one place.
pub struct Use {
    /// What stands there.
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
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is used, each with all of its places.
    fn each(&self) -> impl Iterator<Item = (&Use, &[Use])> {
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

    /// The `use` lines.
    pub fn lines(&self, context: &RequestContext) -> Draft {
        self.each()
            .map(|(used, places)| Entry {
                version: Some(used.credential.version),
                owner: Some(used.credential.owner.as_str().into()),
                locations: places.iter().map(|used| used.location.text()).collect(),
                outcome: Some(outcome::USED.into()),
                ..context.entry_for(event::USE, &used.reference)
            })
            .collect()
    }

    /// What the client is told when a value could not be written.
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
}

/// Opened values, wiped when the request has been put together. In the order of the references.
pub struct Values(Vec<(Reference, Arc<SecretBytes>)>);

impl Values {
    /// The value of a reference.
    pub fn get(&self, reference: &Reference) -> Option<&SecretBytes> {
        let at = self.0.binary_search_by(|(known, _)| known.cmp(reference));
        Some(&self.0.get(at.ok()?)?.1)
    }

    /// All of them, for what has to outlive the request's assembly.
    pub fn into_vec(self) -> Vec<(Reference, Arc<SecretBytes>)> {
        self.0
    }
}

/// Values that may be written, by what names them.
pub type Permitted = Vec<(Reference, Arc<SecretBytes>)>;

fn refuse_use(context: &RequestContext, refusal: Refusal, used: &Use, places: &[Use]) -> Refused {
    let locations: Vec<_> = places.iter().map(|used| &used.location).collect();
    context.refuse(refusal, &used.reference, Some(&used.credential), &locations)
}

/// Finds the credential that `facts.caller` means by `reference`.
///
/// Unknown, revoked, expired, deleted and somebody else's get one answer, so that a client cannot
/// find out which slugs exist.
pub fn find(
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
pub fn together(refused: impl Iterator<Item = Refused>) -> Option<Refused> {
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
