//! Recent usage: the chart, and one page of lines.

use super::chart::Chart;
use super::filter::Wanted;
use crate::error::Code;
use crate::ledger::usage::{Choices, UsageError, UsageFilter, UsageIndex, UsageLine};
use crate::page::text;
use crate::page::when::When;
use crate::vault::{Credential, Principal};

/// Lines of one page.
const PAGE: u32 = 25;
/// Recent usage of one credential.
pub(super) struct Usage {
    pub(super) asked: Wanted,
    pub(super) choices: Choices,
    pub(super) chart: Chart,
    pub(super) lines: Vec<Line>,
    pub(super) next: String,
    pub(super) is_later: bool,
    /// The lines that are shown as they arrive; empty where an end of the time is asked for.
    pub(super) live: String,
    /// The last line of the ledger that is counted.
    pub(super) known: u64,
}

/// A line, ready to be shown.
pub(super) struct Line {
    pub(super) seq: u64,
    pub(super) time: String,
    pub(super) action: String,
    pub(super) run: String,
    pub(super) client: String,
    pub(super) user: String,
    pub(super) method: String,
    pub(super) destination: String,
    pub(super) path: String,
    pub(super) places: String,
    pub(super) version: String,
    pub(super) outcome: String,
    pub(super) outcome_class: &'static str,
    /// Why it was refused, in the words of the refusal.
    pub(super) reason: &'static str,
    pub(super) duration: String,
    pub(super) refused: bool,
    /// What had never used the credential before, in words; empty for nothing.
    pub(super) first: String,
}

impl Usage {
    pub(super) async fn read(
        index: &mut UsageIndex,
        credential: &Credential,
        asked: Wanted,
        only: Option<&Principal>,
    ) -> Result<Self, UsageError> {
        let id = (credential.owner.as_str(), credential.slug.as_str());
        let filter = asked.filter(only);
        let span = UsageFilter {
            principal: only.map(ToString::to_string),
            since: filter.since,
            until: filter.until,
            ..UsageFilter::default()
        };
        let choices = index.choices(id, &span).await?;
        let hours = index.hours(id, &filter).await?;
        let chart = Chart::new(&hours, asked.span(), &asked);
        let mut lines = index.lines(id, &filter, asked.before(), PAGE + 1).await?;
        let more = lines.len() > PAGE as usize;
        lines.truncate(PAGE as usize);
        let before = lines.last().filter(|_| more);
        let before = before.map_or_else(String::new, |line| line.line.seq.to_string());
        let next = match before.as_str() {
            "" => String::new(),
            before => asked.query(&asked.since, &asked.until, before),
        };
        Ok(Self {
            next,
            is_later: asked.before().is_some(),
            live: if asked.before().is_some() || !asked.until.is_empty() {
                String::new()
            } else {
                format!("?{}", text::query(&[("slug", id.1)]))
            },
            known: index.known().await?,
            lines: lines.iter().map(Line::new).collect(),
            asked,
            choices,
            chart,
        })
    }
}

impl Line {
    fn new(line: &UsageLine) -> Self {
        let used = &line.line;
        let outcome = used.outcome.as_deref().unwrap_or("open");
        Self {
            seq: used.seq,
            time: When::of(used.time).stamp(),
            action: text::shown_or_dash(used.action.as_deref()),
            run: text::shown(used.run.as_deref().unwrap_or_default()),
            client: text::shown_or_dash(used.client.as_deref()),
            user: text::shown_or_dash(used.principal.as_deref()),
            method: text::shown(used.method.as_deref().unwrap_or_default()),
            destination: text::host(used.destination.as_deref().unwrap_or_default()),
            path: text::shown(used.path.as_deref().unwrap_or_default()),
            places: text::shown(&line.places),
            version: used
                .version
                .map_or_else(|| "–".to_owned(), |v| v.to_string()),
            outcome: text::shown(outcome),
            outcome_class: class(outcome, line.refused),
            reason: reason(outcome),
            duration: line
                .duration_ms
                .map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms")),
            refused: line.refused,
            first: text::shown(&line.first.join(", ")),
        }
    }
}

/// What a code of a refusal means.
fn reason(outcome: &str) -> &'static str {
    let code = Code::ALL.iter().find(|code| code.as_str() == outcome);
    code.map_or("", |code| code.title())
}

/// The colours of an outcome. They repeat what the words say.
fn class(outcome: &str, refused: bool) -> &'static str {
    match outcome.as_bytes().first() {
        _ if refused => "bad",
        Some(b'2' | b'3') => "good",
        Some(b'4' | b'5') => "warn",
        _ => "quiet",
    }
}
