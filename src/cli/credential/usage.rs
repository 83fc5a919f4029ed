//! `egret credential usage`: what the ledger knows about one credential.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::Target;
use crate::cli::context::{Context, ledger_directory};
use crate::cli::{Format, output, when};
use crate::config::Config;
use crate::ledger::CURRENT;
use crate::ledger::reader::{Lines, ReadError};
use crate::ledger::record::{Record, Timestamp, event};
use crate::vault::model::Credential;
use crate::vault::store::StoreError;

/// The records on file, from the first. A ledger that does not exist yet has none; a line that is
/// no record is passed over here, since saying so is the verifier's business.
fn records(config: &Config) -> Result<impl Iterator<Item = Record>, ReadError> {
    let lines = match Lines::open(&ledger_directory(config).join(CURRENT)) {
        Ok(lines) => Some(lines),
        Err(ReadError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    Ok(lines
        .into_iter()
        .flatten()
        .flatten()
        .map(|line| line.record))
}

/// When each credential was last used.
pub(super) struct LastUses(HashMap<(String, String), Timestamp>);

impl LastUses {
    pub(super) fn read(config: &Config) -> Result<Self, ReadError> {
        let mut uses = HashMap::new();
        for record in records(config)?.filter(|record| record.entry.event == event::USE) {
            if let (Some(owner), Some(slug)) = (record.entry.owner, record.entry.slug) {
                let last = uses.entry((owner, slug)).or_insert(record.time);
                *last = record.time.max(*last);
            }
        }
        Ok(Self(uses))
    }

    pub(super) fn of(&self, credential: &Credential) -> Option<Timestamp> {
        let name = (credential.owner.to_string(), credential.slug.to_string());
        self.0.get(&name).copied()
    }
}

/// What is known about one credential.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Usage {
    slug: String,
    owner: String,
    uses: u64,
    denied: u64,
    last_used: Option<Timestamp>,
    actions: Vec<ActionUsage>,
}

/// What one action did with it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct ActionUsage {
    action: String,
    uses: u64,
    denied: u64,
    last_used: Option<Timestamp>,
    versions: BTreeSet<u32>,
    /// How requests ended: by the status of the answer, by the error code, `client_gone`, or
    /// `open` while there is no result.
    outcomes: BTreeMap<String, u64>,
}

impl Usage {
    fn gather(owner: &str, slug: &str, records: impl Iterator<Item = Record>) -> Self {
        let mut usage = Self {
            slug: slug.to_owned(),
            owner: owner.to_owned(),
            ..Self::default()
        };
        let mut actions: BTreeMap<String, ActionUsage> = BTreeMap::new();
        // Requests whose result is still to come, with their action.
        let mut open: HashMap<String, String> = HashMap::new();
        for Record { time, entry, .. } in records {
            let action = entry.action.unwrap_or_default();
            let concerns = entry.slug.as_deref() == Some(slug)
                && entry.owner.or(entry.principal).as_deref() == Some(owner);
            match entry.event.as_ref() {
                event::USE if concerns => {
                    usage.uses += 1;
                    usage.last_used = usage.last_used.max(Some(time));
                    let seen = actions.entry(action.clone()).or_default();
                    seen.uses += 1;
                    seen.last_used = seen.last_used.max(Some(time));
                    seen.versions.extend(entry.version);
                    // Two fields of one credential are two lines and one request.
                    open.extend(entry.request.map(|request| (request, action)));
                }
                event::DENIED if concerns => {
                    usage.denied += 1;
                    actions.entry(action).or_default().denied += 1;
                }
                event::RESULT => {
                    let action = entry.request.and_then(|request| open.remove(&request));
                    let outcome = match (entry.status, entry.code, entry.outcome) {
                        (_, Some(code), _) => code.into_owned(),
                        (Some(status), ..) => status.to_string(),
                        (_, _, outcome) => outcome.unwrap_or_default().into_owned(),
                    };
                    if let Some(action) = action {
                        count(&mut actions, action, outcome);
                    }
                }
                _ => {}
            }
        }
        for action in open.into_values() {
            count(&mut actions, action, "open".to_owned());
        }
        usage.actions = actions
            .into_iter()
            .map(|(action, seen)| ActionUsage { action, ..seen })
            .collect();
        usage
    }
}

fn count(actions: &mut BTreeMap<String, ActionUsage>, action: String, outcome: String) {
    *actions
        .entry(action)
        .or_default()
        .outcomes
        .entry(outcome)
        .or_default() += 1;
}

pub(super) async fn run(context: &Context, target: &Target, format: Format) -> anyhow::Result<()> {
    let (owner, slug) = target.parse()?;
    let session = context.open().await?;
    let exists = session.store.get(owner, &slug).await?.is_some();
    session.store.close().await;
    let records = records(&session.config)?;
    let usage = Usage::gather(owner.as_str(), slug.as_str(), records);
    // A deleted credential is still on record; one that never was is a mistake.
    if !exists && usage.actions.is_empty() {
        let owner = owner.clone();
        return Err(StoreError::NotFound { owner, slug }.into());
    }
    match format.json {
        true => output::json(&usage),
        false => output::print(&describe(&usage)),
    }
}

fn describe(usage: &Usage) -> String {
    let slug = &usage.slug;
    if usage.actions.is_empty() {
        return format!("{slug} was never used.\n");
    }
    let seconds = |time: Timestamp| time.unix_micros() / 1_000_000;
    let rows: Vec<[String; 6]> = usage
        .actions
        .iter()
        .map(|action| {
            let versions: Vec<_> = action.versions.iter().map(u32::to_string).collect();
            let outcomes = action.outcomes.iter();
            let outcomes: Vec<_> = outcomes
                .map(|(name, count)| format!("{name}: {count}"))
                .collect();
            [
                output::printable(&action.action),
                action.uses.to_string(),
                action.denied.to_string(),
                versions.join(", "),
                action
                    .last_used
                    .map(|time| when::short(seconds(time)))
                    .unwrap_or_default(),
                output::printable(&outcomes.join(", ")),
            ]
        })
        .collect();
    let headers = [
        "ACTION",
        "USES",
        "DENIED",
        "VERSIONS",
        "LAST USED (UTC)",
        "OUTCOMES",
    ];
    format!(
        "{slug} of {}: used {}, denied {}\n\n{}",
        usage.owner,
        times(usage.uses),
        times(usage.denied),
        output::table(headers, &rows)
    )
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::chain::LineHash;
    use crate::ledger::record::Entry;

    fn record(seq: u64, entry: Entry) -> Record {
        Record {
            seq,
            time: Timestamp::from_unix_micros(i64::try_from(seq).unwrap_or(0)),
            entry,
            prev: LineHash::of(b""),
        }
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn used(request: &str, action: &str, version: u32) -> Entry {
        Entry {
            request: text(request),
            slug: text("pat"),
            owner: text("alice"),
            action: text(action),
            version: Some(version),
            ..Entry::new(event::USE)
        }
    }

    fn result(request: &str, status: u16) -> Entry {
        Entry {
            request: text(request),
            status: Some(status),
            ..Entry::new(event::RESULT)
        }
    }

    fn gather(entries: Vec<Entry>) -> Usage {
        let records = (1..).zip(entries).map(|(seq, entry)| record(seq, entry));
        Usage::gather("alice", "pat", records)
    }

    #[test]
    fn uses_are_counted_by_action_with_their_results() {
        let usage = gather(vec![
            used("r1", "report", 1),
            used("r2", "report", 2),
            used("r3", "sync", 2),
            result("r1", 200),
            result("r2", 404),
            result("r9", 200),
        ]);
        assert_eq!(usage.uses, 3);
        assert_eq!(usage.last_used, Some(Timestamp::from_unix_micros(3)));
        let [report, sync] = usage.actions.as_slice() else {
            panic!("two actions, not {:?}", usage.actions);
        };
        assert_eq!((report.action.as_str(), report.uses), ("report", 2));
        assert_eq!(report.versions, BTreeSet::from([1, 2]));
        let outcomes = [("200".to_owned(), 1), ("404".to_owned(), 1)];
        assert_eq!(report.outcomes, BTreeMap::from(outcomes));
        assert_eq!(sync.outcomes, BTreeMap::from([("open".to_owned(), 1)]));
    }

    #[test]
    fn two_fields_in_one_request_have_one_result() {
        let usage = gather(vec![
            used("r1", "a", 1),
            used("r1", "a", 1),
            result("r1", 200),
        ]);
        assert_eq!(usage.uses, 2);
        assert_eq!(
            usage.actions[0].outcomes,
            BTreeMap::from([("200".to_owned(), 1)])
        );
    }

    #[test]
    fn another_owners_credential_of_that_name_does_not_count() {
        let mut other = used("r1", "a", 1);
        other.owner = text("bob");
        assert_eq!(gather(vec![other]).uses, 0);
    }

    #[test]
    fn refusals_are_counted_for_the_principal_who_asked() {
        let denied = Entry {
            slug: text("pat"),
            principal: text("alice"),
            action: text("a"),
            ..Entry::new(event::DENIED)
        };
        assert_eq!(gather(vec![denied]).denied, 1);
    }
}
