//! The ledger, line by line.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::header;

use super::failure::Failure;
use super::fields::Fields;
use super::layout::{self, Layout, Section};
use super::person::Person;
use super::text;
use super::when::When;
use crate::admin::{AdminContext, AdminProblem, Trouble};
use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::format::record::Record;
use crate::ledger::proof::{self, ProveError};
use crate::ledger::reader::Filter;
use crate::ledger::window::{From, Lines, Window};
use crate::vault::people::Role;

/// Lines of one page.
const PAGE: usize = 100;

#[derive(Template)]
#[template(path = "ledger.html")]
struct LedgerPage {
    layout: Layout,
    event: String,
    slug: String,
    action: String,
    client: String,
    rows: Vec<Row>,
    next: String,
    is_later: bool,
    first: String,
    is_filtered: bool,
    sees_all: bool,
    size: String,
    covered: u64,
    signed: String,
    is_signed: bool,
}

struct Row {
    seq: u64,
    time: String,
    event: String,
    class: &'static str,
    sentence: String,
    is_covered: bool,
}

fn sees_all(person: &Person) -> bool {
    person.caller.role != Role::Member
}

fn ledger_trouble() -> AdminProblem {
    AdminProblem::because(
        Trouble::LedgerUnavailable,
        "The ledger cannot be read. The reason is in Egret's log, for its operator.",
    )
}

/// Runs what reads files on a thread that may wait for the disk.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| ledger_trouble().into())
}

/// `GET /ledger`
pub(super) async fn show(
    State(context): State<AdminContext>,
    person: Person,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let before = fields.text("before").parse().ok();
    let lines = read(&context, &person, &fields, From::Before(before), PAGE).await?;
    let stats = context.state().ledger.stats();
    let link = |before: &str| {
        let names = ["event", "slug", "action", "client"];
        let mut pairs: Vec<_> = names
            .iter()
            .map(|name| (*name, fields.trimmed(name)))
            .collect();
        pairs.push(("before", before));
        format!("/ledger?{}", text::query(&pairs))
    };
    let text = |name: &str| fields.trimmed(name).to_owned();
    let names = ["event", "slug", "action", "client"];
    let page = LedgerPage {
        layout: Layout::new("Ledger", Section::Ledger, &person),
        event: text("event"),
        slug: text("slug"),
        action: text("action"),
        client: text("client"),
        rows: lines
            .records
            .iter()
            .map(|record| row(record, stats.checkpoint_size))
            .collect(),
        next: lines
            .next
            .map_or_else(String::new, |seq| link(&seq.to_string())),
        is_later: before.is_some(),
        first: link(""),
        is_filtered: names.iter().any(|name| !fields.trimmed(name).is_empty()),
        sees_all: sees_all(&person),
        size: text::count(stats.size, "line", "lines"),
        covered: stats.checkpoint_size,
        signed: stats
            .checkpoint_time
            .map_or_else(String::new, |time| When::of(time).html()),
        is_signed: stats.signed,
    };
    Ok(layout::page(&page))
}

/// Members see what they own, did or used; administrators and auditors see every line.
async fn read(
    context: &AdminContext,
    person: &Person,
    fields: &Fields,
    from: From,
    limit: usize,
) -> Result<Lines, Failure> {
    let window = Window {
        from,
        limit,
        filter: Filter {
            event: fields.given("event"),
            slug: fields.given("slug"),
            action: fields.given("action"),
            client: fields.given("client"),
            ..Filter::default()
        },
        party: (!sees_all(person)).then(|| person.name().to_string()),
    };
    Ok(context.services().lines(window).await?)
}

fn row(record: &Record, covered: u64) -> Row {
    let entry = &record.entry;
    Row {
        seq: record.seq,
        time: When::of(record.time).html(),
        event: text::shown(&entry.event),
        class: match &*entry.event {
            event::DENIED | event::DAMAGED | event::INTERRUPTED => "bad",
            event::USE => "good",
            event::SCRUBBED | event::RECOVERED | event::IGNORED => "warn",
            _ => "quiet",
        },
        sentence: sentence(entry),
        is_covered: record.seq <= covered,
    }
}

/// What a line says, in a sentence.
fn sentence(entry: &Entry<'_>) -> String {
    let text = |text: Option<&str>| text::shown_or_dash(text);
    let slug = text(entry.slug.as_deref());
    let who = match (entry.client.as_deref(), entry.action.as_deref()) {
        (Some(client), Some(action)) => {
            format!("{} for {}", text::shown(client), text::shown(action))
        }
        (None, Some(action)) => text::shown(action),
        (client, None) => text(client),
    };
    let place = match entry.destination.as_deref() {
        Some(destination) => format!(
            "{} {}{}",
            text::shown(entry.method.as_deref().unwrap_or_default()),
            text::host(destination),
            text::shown(entry.path.as_deref().unwrap_or_default()),
        ),
        None => String::new(),
    };
    let code = text(entry.code.as_deref());
    match &*entry.event {
        event::USE => {
            let version = entry.version.unwrap_or_default();
            format!("{who} used {slug}, version {version}, in {place}")
        }
        event::DENIED => format!("{who} was refused {slug} ({code}) in {place}"),
        event::RESULT => match (entry.status, entry.code.as_deref()) {
            (_, Some(_)) => format!("A request ended with {code}"),
            (Some(status), None) => format!("A request was answered with {status}"),
            (None, None) => format!("A request ended: {}", text(entry.outcome.as_deref())),
        },
        event::SCRUBBED => format!("{slug} was taken out of an answer in {place}"),
        event::IGNORED => format!("<<{slug}>> was passed on as it stood in {place}"),
        event::RECOVERED => format!("What became of a use of {slug} is not known: Egret was ended"),
        event::DAMAGED => format!("Something of the ledger was missing or did not fit ({code})"),
        _ => {
            let owner = entry.owner.as_deref().map(text::shown);
            let of = owner.map_or_else(String::new, |owner| format!(" of {owner}"));
            let subject = entry.slug.as_deref().map(text::shown);
            let subject = subject.map_or_else(String::new, |slug| format!("{slug}{of}"));
            let by = entry.action.as_deref().map(text::shown);
            let by = by.map_or_else(String::new, |by| format!(" by {by}"));
            format!("{subject}{by}")
        }
    }
}

/// `GET /ledger/proof/{seq}`: of a line that the person may see.
pub(super) async fn proof(
    State(context): State<AdminContext>,
    person: Person,
    Path(seq): Path<String>,
) -> Result<Response, Failure> {
    let seq: u64 = seq.parse().map_err(|_| Failure::not_found())?;
    let before = From::Before(Some(seq.saturating_add(1)));
    let fields = Fields::parse(b"");
    let seen = read(&context, &person, &fields, before, 1).await?;
    if seen.records.first().is_none_or(|record| record.seq != seq) {
        return Err(Failure::not_found());
    }
    let dir = context.settings().config.ledger_dir();
    let proof = on_disk(move || proof::prove(&dir, seq, None)).await?;
    match proof {
        Ok(proof) => Ok(file(&format!("line-{seq}.tlog-proof"), proof.to_string())),
        Err(error @ (ProveError::NotCovered { .. } | ProveError::NotSigned)) => {
            let problem = AdminProblem::because(Trouble::Conflict, error.to_string());
            Err(problem.retry_after(10).into())
        }
        Err(error) => {
            tracing::warn!(%error, "a line of the ledger cannot be proven");
            Err(ledger_trouble().into())
        }
    }
}

/// `GET /ledger/checkpoint`: the last one, to be kept elsewhere. It holds a size and a hash.
pub(super) async fn checkpoint(
    State(context): State<AdminContext>,
    _person: Person,
) -> Result<Response, Failure> {
    let dir = context.settings().config.ledger_dir();
    let note = on_disk(move || proof::last_checkpoint(&dir)).await?;
    match note {
        Ok(Some(note)) => Ok(file("ledger.note", note)),
        Ok(None) => Err(Failure::not_found()),
        Err(error) => {
            tracing::warn!(%error, "the last checkpoint cannot be read");
            Err(ledger_trouble().into())
        }
    }
}

fn file(name: &str, text: String) -> Response {
    let fields = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{name}\""),
        ),
    ];
    (fields, text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sentences_without_what_deceives() {
        let used = Entry {
            slug: Some("gh".into()),
            client: Some("laptop".into()),
            action: Some("a\u{202e}b".into()),
            version: Some(2),
            method: Some("GET".into()),
            destination: Some("https://api.github.com:443".into()),
            path: Some("/user".into()),
            ..Entry::new(event::USE)
        };
        assert_eq!(
            sentence(&used),
            "laptop for a\\u{202e}b used gh, version 2, in GET api.github.com/user"
        );
        let made = Entry {
            slug: Some("gh".into()),
            owner: Some("alice".into()),
            action: Some("cli:root".into()),
            ..Entry::new("credential.created")
        };
        assert_eq!(sentence(&made), "gh of alice by cli:root");
    }
}
