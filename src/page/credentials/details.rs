//! One credential: Recent usage, limits, shares and versions.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use super::facts::{self, Asked, Badge};
use super::filter::Wanted;
use super::list::INDEX_WAIT;
use super::usage::Usage;
use crate::admin::AdminContext;
use crate::ledger::usage::UsageIndex;
use crate::page::failure::Failure;
use crate::page::layout::{self, Layout, Section};
use crate::page::text;
use crate::page::visit::Visit;
use crate::page::when::When;
use crate::policy::use_limits::Copies;
use crate::vault::model::Phase;
use crate::vault::people::Share;
use crate::vault::rights::Right;
use crate::vault::{Credential, State as CredentialState};

/// Lines that the index may lack while it is only a moment behind.
const BEHIND: u64 = 20_000;

#[derive(Template)]
#[template(path = "details.html")]
struct DetailsPage {
    layout: Layout,
    path: String,
    slug: String,
    owner: String,
    description: String,
    kind: &'static str,
    badges: Vec<Badge>,
    revision: i64,
    is_revoked: bool,
    owns: bool,
    may_take_away: bool,
    sees_all_uses: bool,
    usage: Usage,
    /// The line up to which a signed checkpoint covers the ledger.
    covered: u64,
    /// Lines of the ledger.
    size: u64,
    limits: Vec<Limit>,
    shares: Vec<SharedWith>,
    versions: Vec<VersionRow>,
    has_staged: bool,
    can_roll_back: bool,
    version: u32,
    rotated: String,
    due: String,
    created: String,
}

pub(super) struct Limit {
    pub(super) name: &'static str,
    pub(super) value: String,
}

struct SharedWith {
    with: String,
    limits: String,
    since: String,
    until: String,
    end: String,
    change: String,
}

struct VersionRow {
    number: u32,
    phase: &'static str,
    created: String,
    kept_until: String,
    can_destroy: bool,
}

/// The limits of a credential for people.
pub(super) fn limits(credential: &Credential) -> Vec<Limit> {
    let grant = &credential.grant;
    let any = |text: String| {
        if text.is_empty() {
            "any".to_owned()
        } else {
            text
        }
    };
    let limit = |name, value| Limit { name, value };
    let uses = grant.uses;
    let budget = uses.budget.map(|rate| rate.to_string());
    let approve = uses.approve.map_or("never", |mode| mode.as_str());
    vec![
        limit("Hosts", facts::texts(&grant.hosts)),
        limit("Places", facts::texts(&grant.locations)),
        limit("Methods", any(grant.methods.join(", "))),
        limit("Paths", any(facts::texts(&grant.paths))),
        limit("Actions", any(grant.actions.join(", "))),
        limit(
            "Expires",
            grant
                .expires
                .map_or("never".to_owned(), |at| When::at(at).utc()),
        ),
        limit("Copies", uses.copies.unwrap_or(Copies::Any).to_string()),
        limit("At most", any(budget.unwrap_or_default())),
        limit("Approval", approve.to_owned()),
    ]
}

impl DetailsPage {
    /// Whether the index is being made again, so that there is something to wait for.
    fn is_behind(&self) -> bool {
        self.size.saturating_sub(self.usage.known) > BEHIND
    }
}

pub(super) async fn show(
    State(context): State<AdminContext>,
    visit: Visit,
    Path((owner, slug)): Path<(String, String)>,
) -> Result<Response, Failure> {
    let layout = visit.layout(slug.clone(), Section::Credentials);
    let Visit {
        person,
        sight,
        fields,
    } = visit;
    let asked = Asked::seen(sight, &owner, &slug)?;
    let credential = &asked.credential;
    let is_own = credential.owner == *person.name();
    let sees_all_uses = is_own || asked.sight.sees_all();
    let only = (!sees_all_uses).then(|| person.name());
    let dir = context.settings().config.ledger_dir();
    let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
    let usage = Usage::read(&mut index, credential, Wanted::of(&fields), only).await?;
    index.leave();
    let versions = &credential.versions;
    let stats = context.state().ledger.stats();
    let page = DetailsPage {
        layout,
        path: asked.path(),
        slug,
        owner,
        description: text::shown(&credential.description),
        kind: credential.kind.as_str(),
        badges: facts::badges(credential, &context.state().health, asked.sight.now()),
        revision: credential.revision,
        is_revoked: credential.state == CredentialState::Revoked,
        owns: asked.may(Right::Own),
        may_take_away: asked.may(Right::TakeAway),
        sees_all_uses,
        usage,
        covered: stats.checkpoint_size,
        size: stats.size,
        limits: limits(credential),
        shares: if sees_all_uses {
            shares(&asked)
        } else {
            Vec::new()
        },
        versions: versions.iter().map(version_row).collect(),
        has_staged: credential.staged_version().is_some(),
        can_roll_back: versions.iter().any(|version| version.rollback),
        version: credential.version,
        rotated: When::at(credential.rotated).html(),
        due: facts::when(credential.rotation_due()),
        created: When::at(credential.created).html(),
    };
    Ok(layout::page(&page))
}

fn shares(asked: &Asked) -> Vec<SharedWith> {
    let shares = asked.credential.shares.iter();
    let shares = shares.filter(|share| share.ended.is_none());
    let form = |name: &str, share: &Share| {
        let with = text::encoded(&share.with.to_string());
        format!("{}/{name}?with={with}", asked.path())
    };
    shares
        .map(|share| SharedWith {
            with: share.with.to_string(),
            limits: share_limits(share),
            since: When::at(share.created).html(),
            until: facts::when(share.until),
            end: form("unshare", share),
            change: form("share", share),
        })
        .collect()
}

fn share_limits(share: &Share) -> String {
    let limits = &share.limits;
    let parts = [
        ("hosts", facts::texts(&limits.hosts)),
        ("places", facts::texts(&limits.locations)),
        ("methods", limits.methods.join(", ")),
        ("paths", facts::texts(&limits.paths)),
        ("actions", limits.actions.join(", ")),
    ];
    let parts = parts.iter().filter(|(_, text)| !text.is_empty());
    let parts: Vec<_> = parts.map(|(name, text)| format!("{name} {text}")).collect();
    if parts.is_empty() {
        "as the owner".to_owned()
    } else {
        parts.join("; ")
    }
}

fn version_row(version: &crate::vault::model::Version) -> VersionRow {
    VersionRow {
        number: version.number,
        phase: version.phase.as_str(),
        created: When::at(version.created).html(),
        kept_until: facts::when(version.kept_until),
        can_destroy: version.phase != Phase::Current,
    }
}
