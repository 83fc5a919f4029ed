//! What a change will break, from the last 30 days of the ledger.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::list::INDEX_WAIT;
use crate::admin::AdminContext;
use crate::clock;
use crate::ledger::Timestamp;
use crate::ledger::usage::{KeptSince, UsageError, UsageFilter, UsageIndex, UsageLine};
use crate::page::text;
use crate::page::when::When;
use crate::policy::decide::{Attempt, decide, decide_share};
use crate::policy::destination::{Destination, Scheme};
use crate::policy::grant::Grant;
use crate::policy::location::{BodyField, Location};
use crate::policy::share_limits::ShareLimits;
use crate::vault::people::Grantee;
use crate::vault::{Credential, Principal, Sight};

/// How far back is looked.
const DAYS: i64 = 30;
/// Actions that are named.
const ACTIONS: u32 = 20;
/// Uses that a narrower limit is tried on, the latest.
const TRIED: u32 = 10_000;

/// What a change will break.
#[derive(Default)]
pub(super) struct Impact {
    pub(super) rows: Vec<Row>,
    /// What it does not cover.
    pub(super) note: String,
}

/// What is broken of one action.
pub(super) struct Row {
    pub(super) action: String,
    pub(super) what: String,
    pub(super) last: String,
}

fn since() -> Timestamp {
    let days = clock::unix_seconds() - DAYS * 86_400;
    Timestamp::from_unix_micros(days.saturating_mul(1_000_000))
}

fn named(action: &str) -> String {
    match action {
        "" => "requests without an action".to_owned(),
        action => text::shown(action),
    }
}

impl Impact {
    /// Whether nothing was used.
    pub(super) fn is_none(&self) -> bool {
        self.rows.is_empty()
    }

    /// Of a change after which nothing may use the credential, or nobody of `with`.
    pub(super) async fn of_end(
        context: &AdminContext,
        sight: &Sight,
        credential: &Credential,
        with: Option<&Grantee>,
    ) -> Result<Self, UsageError> {
        let dir = context.settings().config.ledger_dir();
        let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
        let id = (credential.owner.as_str(), credential.slug.as_str());
        let all = UsageFilter {
            since: Some(since()),
            ..UsageFilter::default()
        };
        let kept = index.kept_since(id).await?;
        // Those whose hours are kept no longer are named, too.
        let mut known = match with {
            None => index.actions_since(id, since(), ACTIONS).await?,
            Some(_) => Vec::new(),
        };
        let mut rows = Vec::new();
        for principal in principals(&mut index, id, &all, sight, with).await? {
            let filter = UsageFilter {
                principal: principal.clone(),
                ..all.clone()
            };
            for sum in index.actions(id, &filter, ACTIONS).await? {
                // A sum knows the hour.
                let of_action = UsageFilter {
                    action: Some(sum.action.clone()),
                    ..filter.clone()
                };
                let latest = index.lines(id, &of_action, None, 1).await?;
                let latest = latest.first().map_or(sum.last, |line| line.line.time);
                known.retain(|(action, _)| *action != sum.action);
                let uses = text::count(sum.uses, "use", "uses");
                rows.push(Row {
                    action: named(&sum.action),
                    what: match &principal {
                        Some(user) => format!("{uses} by {}", text::shown(user)),
                        None => uses,
                    },
                    last: When::of(latest).html(),
                });
            }
        }
        index.leave();
        rows.extend(known.iter().map(|(action, last)| Row {
            action: named(action),
            what: "used".to_owned(),
            last: When::of(*last).html(),
        }));
        Ok(Self {
            rows,
            note: not_kept(kept.hours, "Uses before it are not counted here."),
        })
    }

    /// Of limits that are narrower: the uses that they would have refused.
    pub(super) async fn of_limits(
        context: &AdminContext,
        credential: &Credential,
        after: &Grant,
    ) -> Result<Self, UsageError> {
        let dir = context.settings().config.ledger_dir();
        let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
        let id = (credential.owner.as_str(), credential.slug.as_str());
        let lines = index.lines(id, &used(None), None, TRIED).await?;
        let kept = index.kept_since(id).await?;
        index.leave();
        let permits = |attempt: &Attempt<'_>| decide(after, attempt).is_ok();
        Ok(Self::of_refused(&lines, permits).tried_since(kept))
    }

    /// Of a share with `with` that has these limits from now on.
    pub(super) async fn of_share(
        context: &AdminContext,
        sight: &Sight,
        credential: &Credential,
        with: &Grantee,
        limits: &ShareLimits,
    ) -> Result<Self, UsageError> {
        let dir = context.settings().config.ledger_dir();
        let mut index = UsageIndex::open_within(&dir, INDEX_WAIT).await?;
        let id = (credential.owner.as_str(), credential.slug.as_str());
        let mut lines = Vec::new();
        for principal in principals(&mut index, id, &used(None), sight, Some(with)).await? {
            lines.extend(index.lines(id, &used(principal), None, TRIED).await?);
        }
        let kept = index.kept_since(id).await?;
        index.leave();
        let permits = |attempt: &Attempt<'_>| decide_share(limits, attempt).is_ok();
        Ok(Self::of_refused(&lines, permits).tried_since(kept))
    }

    /// Says from when on uses were tried.
    fn tried_since(self, kept: KeptSince) -> Self {
        let note = not_kept(kept.lines, "Uses before it were not tried on these limits.");
        Self { note, ..self }
    }

    /// Of what was used, and is not permitted any more.
    fn of_refused(lines: &[UsageLine], permits: impl Fn(&Attempt<'_>) -> bool) -> Self {
        let mut refused: BTreeMap<(String, String), (u64, Timestamp)> = BTreeMap::new();
        for line in lines.iter().filter(|line| refuses(line, &permits)) {
            let used = &line.line;
            let host = text::host(used.destination.as_deref().unwrap_or_default());
            let method = text::shown(used.method.as_deref().unwrap_or_default());
            let path = text::shown(used.path.as_deref().unwrap_or_default());
            let action = named(used.action.as_deref().unwrap_or_default());
            let counted = refused.entry((action, format!("{method} {host}{path}")));
            counted.or_insert((0, used.time)).0 += 1;
        }
        let rows = refused.into_iter().take(ACTIONS as usize);
        let rows = rows.map(|((action, request), (uses, last))| Row {
            action,
            what: format!("{request}, {}", text::count(uses, "use", "uses")),
            last: When::of(last).html(),
        });
        Self {
            rows: rows.collect(),
            note: String::new(),
        }
    }
}

/// Says what the index keeps no longer of the time that is looked at.
fn not_kept(kept: Option<Timestamp>, rest: &str) -> String {
    match kept.filter(|kept| *kept > since()) {
        Some(kept) => format!(
            "It was used so often that the index reaches back to {} only. {rest} The ledger has them.",
            When::of(kept).utc()
        ),
        None => String::new(),
    }
}

/// What was used since the time that is looked back to, by one user or by all.
fn used(principal: Option<String>) -> UsageFilter {
    UsageFilter {
        principal,
        refused: Some(false),
        since: Some(since()),
        ..UsageFilter::default()
    }
}

/// Whose uses end: everybody's, or those of the users of a share, one by one.
async fn principals(
    index: &mut UsageIndex,
    id: (&str, &str),
    filter: &UsageFilter,
    sight: &Sight,
    with: Option<&Grantee>,
) -> Result<Vec<Option<String>>, UsageError> {
    let Some(with) = with else {
        return Ok(vec![None]);
    };
    let users = index.choices(id, filter).await?.principals;
    let is_one = |user: &String| {
        let user = Principal::parse(user);
        user.is_ok_and(|user| user.as_str() != id.0 && is_among(sight, with, &user))
    };
    Ok(users.into_iter().filter(is_one).map(Some).collect())
}

/// Whether a share with `with` is one with the user.
pub(super) fn is_among(sight: &Sight, with: &Grantee, user: &Principal) -> bool {
    match with {
        Grantee::User(one) => one == user,
        Grantee::Everyone => true,
        Grantee::Group(group) => {
            let group = sight.groups().get(group);
            group.is_some_and(|group| group.present().any(|one| one == user))
        }
    }
}

/// Whether what was used is not permitted any more. What cannot be told from the line is not counted.
fn refuses(line: &UsageLine, permits: &impl Fn(&Attempt<'_>) -> bool) -> bool {
    let used = &line.line;
    let Some(destination) = used.destination.as_deref().and_then(destination) else {
        return false;
    };
    let places: Vec<_> = line.places.split(' ').filter_map(location).collect();
    places.iter().any(|location| {
        let attempt = Attempt {
            destination: &destination,
            method: used.method.as_deref().unwrap_or_default(),
            path: used.path.as_deref().unwrap_or_default(),
            action: used.action.as_deref().unwrap_or_default(),
            location,
        };
        !permits(&attempt)
    })
}

fn destination(text: &str) -> Option<Destination> {
    let (scheme, authority) = text.split_once("://")?;
    let scheme = [Scheme::Https, Scheme::Http]
        .into_iter()
        .find(|known| known.as_str() == scheme)?;
    Destination::from_authority(scheme, authority).ok()
}

/// A place as the ledger writes it.
fn location(text: &str) -> Option<Location> {
    Some(match text.split_once(':') {
        None if text == "path" => Location::Path,
        None if text == "body" => Location::Body(BodyField::Whole),
        Some(("header", name)) => Location::Header(Arc::from(name)),
        Some(("query", name)) => Location::Query(name.to_owned()),
        Some(("body", pointer)) if pointer.starts_with('/') => {
            Location::Body(BodyField::Pointer(pointer.to_owned()))
        }
        Some(("body", name)) => Location::Body(BodyField::Field(name.to_owned())),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::usage::RecentUse;

    fn used(method: &str, path: &str, places: &str) -> UsageLine {
        let text = |text: &str| Some(text.to_owned());
        UsageLine {
            line: RecentUse {
                seq: 1,
                time: Timestamp::from_unix_micros(0),
                request: None,
                field: None,
                version: Some(1),
                principal: text("alice"),
                client: text("laptop"),
                action: text("report"),
                run: None,
                method: text(method),
                destination: text("https://api.example.com:443"),
                path: text(path),
                outcome: text("200"),
            },
            refused: false,
            places: places.to_owned(),
            duration_ms: None,
            first: Vec::new(),
        }
    }

    #[test]
    fn narrower_limits_are_tried_on_what_was_used() {
        let before = Grant::for_hosts(vec!["api.example.com".parse().unwrap()]);
        let line = used("POST", "/repos", "header:authorization");
        let refuses = |grant: &Grant, line: &UsageLine| {
            super::refuses(line, &|attempt: &Attempt<'_>| {
                decide(grant, attempt).is_ok()
            })
        };
        assert!(!refuses(&before, &line));
        let narrow = |change: fn(&mut Grant)| {
            let mut after = before.clone();
            change(&mut after);
            refuses(&after, &line)
        };
        assert!(narrow(|grant| grant.methods = vec!["GET".to_owned()]));
        assert!(narrow(|grant| grant.actions = vec!["other".to_owned()]));
        assert!(narrow(|grant| grant.paths = vec!["/users".parse().unwrap()]));
        assert!(narrow(
            |grant| grant.hosts = vec!["b.example.com".parse().unwrap()]
        ));
        assert!(narrow(
            |grant| grant.locations = vec!["query:key".parse().unwrap()]
        ));
        assert!(!narrow(|grant| grant.methods = vec!["POST".to_owned()]));
        // Nothing is said of a line that cannot be understood.
        assert!(!refuses(&before, &used("POST", "/", "elsewhere")));
    }
}
