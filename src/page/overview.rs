//! What needs attention, and what the proxy did.

use std::sync::Arc;
use std::time::Duration;

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use super::approvals::{self, Question};
use super::condition::{self, Part};
use super::credentials::{Badge, badges, path, with_a_state};
use super::failure::Failure;
use super::layout::{self, Layout, Section};
use super::person::Person;
use super::requests::{self, Request};
use super::text;
use super::when::When;
use crate::admin::{AdminContext, AdminState};
use crate::error::Code;
use crate::ledger::usage::{UsageFilter, UsageIndex, UsageLine};
use crate::proxy::exchange::health::CredentialHealth;
use crate::proxy::runtime::measures::measures;
use crate::vault::{Credential, Sight};

/// Requests that are shown of a rejected credential.
const SHOWN: u32 = 2;
/// How long the page waits for the usage index to catch up.
const INDEX_WAIT: Duration = Duration::from_millis(150);
/// Credentials that are named as needing attention.
const NAMED: usize = 20;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage {
    layout: Layout,
    waiting_uses: Vec<Question>,
    waiting_keys: Vec<Request>,
    attention: Vec<Attention>,
    more_attention: usize,
    parts: Vec<Part>,
    figures: Vec<(&'static str, String)>,
    refusals: Vec<Refusals>,
    covered: String,
    is_signed: bool,
    has_credentials: bool,
    sees_all: bool,
}

/// How often requests were refused for one reason.
struct Refusals {
    code: &'static str,
    title: &'static str,
    count: String,
}

struct Attention {
    href: String,
    slug: String,
    owner: String,
    badge: Badge,
    what: String,
    credential: Arc<Credential>,
    /// The requests that showed it, and where all of them are.
    requests: Vec<String>,
    more: String,
}

impl Attention {
    /// What a state asks for; nothing for most.
    fn of(
        credential: &Arc<Credential>,
        badge: Badge,
        health: &CredentialHealth,
        now: i64,
    ) -> Option<Self> {
        let what = match badge {
            Badge::Rejected => {
                let since = health.rejected_since(credential).unwrap_or(now);
                format!(
                    "The service has refused it since {}. Replace it, or look at what was sent.",
                    When::at(since).utc()
                )
            }
            Badge::Expiring => {
                let ends = credential.grant.expires.unwrap_or(now);
                format!("It stops working {}.", When::at(ends).ago())
            }
            Badge::Due => {
                let due = credential.rotation_due().unwrap_or(now);
                format!("Its value was due to be replaced {}.", When::at(due).ago())
            }
            Badge::Expired => "Its time is over, and requests no longer use it.".to_owned(),
            Badge::Staged => "A new version waits for its promotion.".to_owned(),
            Badge::Active | Badge::Revoked => return None,
        };
        Some(Self {
            href: path(&credential.owner, &credential.slug),
            slug: credential.slug.to_string(),
            owner: credential.owner.to_string(),
            badge,
            what,
            credential: Arc::clone(credential),
            requests: Vec::new(),
            more: String::new(),
        })
    }
}

/// Adds the requests that showed that a credential is rejected, for those who may see them.
async fn show_requests(
    context: &AdminContext,
    person: &Person,
    sight: &Sight,
    attention: &mut [Attention],
) -> Result<(), Failure> {
    if attention.iter().all(|one| one.badge != Badge::Rejected) {
        return Ok(());
    }
    let dir = context.settings().config.ledger_dir();
    let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
    for one in attention {
        let credential = &one.credential;
        let may_see = credential.owner == *person.name() || sight.sees_all();
        if one.badge != Badge::Rejected || !may_see {
            continue;
        }
        for status in ["401", "403"] {
            let filter = UsageFilter {
                outcome: Some(status.to_owned()),
                refused: Some(false),
                ..UsageFilter::default()
            };
            let id = (credential.owner.as_str(), credential.slug.as_str());
            let lines = index.lines(id, &filter, None, SHOWN).await?;
            if lines.is_empty() {
                continue;
            }
            one.requests.extend(lines.iter().map(request));
            one.more = format!("{}?outcome={status}#usage", one.href);
        }
    }
    index.leave();
    Ok(())
}

fn request(line: &UsageLine) -> String {
    let used = &line.line;
    let text = |text: &Option<String>| text::shown(text.as_deref().unwrap_or_default());
    format!(
        "{} {}{}: {} for {}",
        text(&used.method),
        text::host(used.destination.as_deref().unwrap_or_default()),
        text(&used.path),
        text(&used.outcome),
        text(&used.action),
    )
}

/// `GET /`
pub(super) async fn show(
    State(context): State<AdminContext>,
    person: Person,
) -> Result<Response, Failure> {
    let sight = person.look(&context).await?;
    let now = sight.now();
    let health = &context.state().health;
    let mut attention = Vec::new();
    for credential in &with_a_state(&sight, health) {
        for badge in badges(credential, health, now) {
            attention.extend(Attention::of(credential, badge, health, now));
        }
    }
    let order = |one: &Attention| (one.badge, one.owner.clone(), one.slug.clone());
    attention.sort_by_cached_key(order);
    let more_attention = attention.len().saturating_sub(NAMED);
    attention.truncate(NAMED);
    show_requests(&context, &person, &sight, &mut attention).await?;
    let state = context.state();
    let stats = state.ledger.stats();
    let uncovered = stats.size.saturating_sub(stats.checkpoint_size);
    let page = OverviewPage {
        layout: Layout::new("Overview", Section::Overview, &person),
        waiting_uses: approvals::waiting(&sight, &person),
        waiting_keys: requests::open(&sight, &person),
        attention,
        more_attention,
        parts: condition::parts(state),
        figures: figures(state),
        refusals: refusals(state),
        covered: match uncovered {
            0 => "Every line of the ledger is covered by a signed checkpoint.".to_owned(),
            lines => {
                let lines = text::count(lines, "line waits", "lines wait");
                format!("{lines} for the next signed checkpoint.")
            }
        },
        is_signed: stats.signed,
        has_credentials: sight.count() > 0,
        sees_all: sight.sees_all(),
    };
    Ok(layout::page(&page))
}

/// What the proxy did since the start.
fn figures(state: &AdminState) -> Vec<(&'static str, String)> {
    let (counters, measures) = (&state.counters, measures());
    let scrubbed = measures.scrubbed.sum();
    vec![
        (
            "Requests",
            text::count(counters.forwarded(), "answered", "answered"),
        ),
        (
            "Values put in",
            text::count(measures.substitutions.sum(), "time", "times"),
        ),
        (
            "Values taken out of answers",
            text::count(scrubbed, "time", "times"),
        ),
        (
            "Tunnels",
            text::count(counters.tunnels(), "opened", "opened"),
        ),
    ]
}

/// Refusals since the start, the most frequent first.
fn refusals(state: &AdminState) -> Vec<Refusals> {
    let refused = state.counters.refused().filter(|(_, count)| *count > 0);
    let mut refused: Vec<(Code, u64)> = refused.collect();
    refused.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let refused = refused.into_iter();
    refused
        .map(|(code, count)| Refusals {
            code: code.as_str(),
            title: code.title(),
            count: text::count(count, "time", "times"),
        })
        .collect()
}
