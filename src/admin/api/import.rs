//! Credentials from files of other programs. Nothing is saved before somebody saw what would be.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use super::answer::Answer;
use super::asked::Asked;
use super::credentials::refused;
use super::fields::{Input, Wrong};
use super::request::{Json, message};
use crate::admin::context::AdminContext;
use crate::admin::problem::AdminProblem;
use crate::import::{self, Format, Proposal};
use crate::policy::grant::{Grant, HostPattern};
use crate::secret::SecretBytes;
use crate::substitution::slug::Slug;
use crate::vault::rotation::Retention;
use crate::vault::{NewCredential, Registrar};
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(import_credentials))
}

/// The text of a file, which is wiped.
pub(super) struct FileText(Zeroizing<String>);

impl Input for FileText {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        String::read(value).map(|text| Self(Zeroizing::new(text)))
    }
}

/// Hosts by slug.
pub(super) struct HostsOfSlugs(BTreeMap<String, Vec<HostPattern>>);

impl Input for HostsOfSlugs {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let members = match value {
            None | Some(Value::Null) => return Ok(Self(BTreeMap::new())),
            Some(Value::Object(members)) => members,
            Some(_) => return Err(Wrong::new("it has to be an object of lists")),
        };
        let read = |(name, hosts): (String, Value)| {
            if Slug::parse(&name).is_err() {
                return Err(Wrong::new("one of its names is no slug"));
            }
            let hosts = Vec::read(Some(hosts)).map_err(|wrong| wrong.in_member(&name))?;
            Ok((name, hosts))
        };
        members
            .into_iter()
            .map(read)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Input for Format {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        text.parse().map_err(Wrong::new)
    }
}

message! {
    /// A file with credentials.
    ImportInput {
        /// The text of the file.
        content: FileText as String,
        /// `env`, `json` or `csv`; told by the text if it is missing.
        format: Option<Format> as Option<String>,
        /// Hosts for entries, by the slug that they become.
        hosts: HostsOfSlugs as Option<std::collections::HashMap<String, Vec<String>>>,
        /// Slugs of entries that are left out.
        skip: Vec<Slug> as Option<Vec<String>>,
        /// Slugs of credentials that are there, whose value the one of the file replaces. Their limits stay.
        replace: Vec<Slug> as Option<Vec<String>>,
        /// Save what is complete. Without it nothing is saved.
        save: bool as Option<bool>,
    }
}

/// What happens to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ready,
    Saved,
    NeedsHosts,
    Exists,
    Replaces,
    Replaced,
    Skipped,
    Refused,
}

impl Fate {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Saved => "saved",
            Self::NeedsHosts => "needs_hosts",
            Self::Exists => "exists",
            Self::Replaces => "replaces",
            Self::Replaced => "replaced",
            Self::Skipped => "skipped",
            Self::Refused => "refused",
        }
    }
}

/// Import the credentials of a file
///
/// `.env`, JSON, and CSV exports of 1Password and Bitwarden. Without `save` the answer says what would
/// become of each entry: `ready`, `needs_hosts`, `exists`, `replaces` or `skipped`. With `save` what is
/// ready is saved in one change: `saved`, `replaced`, or `refused` where an entry by itself cannot be. If
/// the store fails, nothing is.
#[utoipa::path(post, path = "/import", tag = "credentials", request_body = ImportInput,
    responses((status = OK, body = Vec<views::ImportedEntry>),
        (status = CREATED, body = Vec<views::ImportedEntry>)))]
async fn import_credentials(
    asked: Asked,
    Json(input): Json<ImportInput>,
) -> Result<Answer, AdminProblem> {
    let registrar = asked.change()?;
    let content = input.content.0;
    let format = input.format.unwrap_or_else(|| Format::of("", &content));
    let rows = format.read(&content);
    let rows = rows.map_err(|error| AdminProblem::field("content", error.to_string()))?;
    drop(content);
    let mut hosts = input.hosts.0;
    let mut proposals = import::propose(rows, HashSet::new());
    for proposal in &mut proposals {
        if let Some(hosts) = hosts.remove(proposal.slug.as_str()) {
            proposal.hosts = hosts;
        }
    }
    if !hosts.is_empty() {
        return Err(AdminProblem::field(
            "hosts",
            "no entry of the file becomes one of its slugs",
        ));
    }
    let mut fates = fates(&asked, &proposals, &input.skip, &input.replace);
    if input.save {
        let actor = asked.actor();
        let together = registrar.together(&actor, None).await?;
        for (proposal, fate) in proposals.iter_mut().zip(&mut fates) {
            if matches!(fate, Fate::Ready | Fate::Replaces) {
                *fate = save(&asked, &together, proposal, *fate).await?;
            }
        }
        together.finish(&actor).await?;
        asked.after_change().await?;
    }
    let entry = |(proposal, fate): (&Proposal, &Fate)| views::ImportedEntry {
        line: proposal.row.line,
        slug: proposal.slug.to_string(),
        kind: proposal.row.kind.to_string(),
        service: proposal.service.map(|service| service.id.as_str()),
        hosts: proposal.hosts.iter().map(ToString::to_string).collect(),
        locations: proposal.locations.iter().map(ToString::to_string).collect(),
        fate: fate.as_str(),
    };
    let entries: Vec<_> = proposals.iter().zip(&fates).map(entry).collect();
    let answer = Answer::ok(&entries).closing();
    Ok(if input.save {
        answer.newly_made()
    } else {
        answer
    })
}

fn fates(asked: &Asked, proposals: &[Proposal], skip: &[Slug], replace: &[Slug]) -> Vec<Fate> {
    let is_taken = asked.sight.own_slugs();
    let (skip, replace): (HashSet<_>, HashSet<_>) =
        (skip.iter().collect(), replace.iter().collect());
    let fate = |proposal: &Proposal| {
        if skip.contains(&proposal.slug) {
            Fate::Skipped
        } else if is_taken(&proposal.slug) && replace.contains(&proposal.slug) {
            Fate::Replaces
        } else if is_taken(&proposal.slug) {
            Fate::Exists
        } else if proposal.hosts.is_empty() {
            Fate::NeedsHosts
        } else {
            Fate::Ready
        }
    };
    proposals.iter().map(fate).collect()
}

async fn save(
    asked: &Asked,
    registrar: &Registrar,
    proposal: &mut Proposal,
    fate: Fate,
) -> Result<Fate, AdminProblem> {
    let (owner, slug) = (asked.caller.user.clone(), proposal.slug.clone());
    let value = std::mem::replace(&mut proposal.row.value, SecretBytes::new(Vec::new()));
    let actor = asked.actor();
    let (saved, fate) = if fate == Fate::Replaces {
        let keep = Retention::default();
        let rotated = registrar.rotate(&actor, &owner, &slug, value, keep);
        (rotated.await, Fate::Replaced)
    } else {
        let mut grant = Grant::for_hosts(proposal.hosts.clone());
        if !proposal.locations.is_empty() {
            grant.locations = proposal.locations.clone();
        }
        let new = NewCredential {
            owner,
            slug,
            kind: proposal.row.kind,
            description: String::new(),
            grant,
            rotate_every: None,
        };
        (registrar.add(&actor, new, value).await, Fate::Saved)
    };
    match saved {
        Ok(_) => Ok(fate),
        Err(error) => match refused(error) {
            // The store itself fails: the rest would too.
            problem if problem.trouble.status().is_server_error() => Err(problem),
            _ => Ok(Fate::Refused),
        },
    }
}
