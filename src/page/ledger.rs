//! The ledger, line by line.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use http::header;

use super::failure::Failure;
use super::fields::Fields;
use super::layout::{self, Layout, Section};
use super::person::Person;
use super::sentence::sentence;
use super::text;
use super::visit::Query;
use super::when::When;
use crate::admin::{AdminContext, AdminProblem, Trouble};
use crate::ledger::background_check::{Found, Latest};
use crate::ledger::format::event;
use crate::ledger::format::record::Record;
use crate::ledger::proof::{self, ProveError};
use crate::ledger::reader::Filter;
use crate::ledger::verify::Ask;
use crate::ledger::window::{From, Lines, Window};
use crate::vault::people::Role;

/// Lines of one page.
const PAGE: usize = 100;
/// The names of the filters.
const NAMES: [&str; 4] = ["event", "slug", "action", "client"];

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
    /// The lines that are shown as they arrive; empty on later pages.
    live: String,
    check: Check,
    sees_all: bool,
    size: String,
    covered: u64,
    signed: String,
    is_signed: bool,
}

/// The check of the whole ledger, ready to be shown.
#[derive(Default)]
struct Check {
    /// How many lines the running check has read.
    running: Option<u64>,
    /// Of how many.
    of: u64,
    said: String,
    class: &'static str,
    /// When it ended.
    at: String,
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
    Query(fields): Query,
) -> Result<Response, Failure> {
    let before = fields.text("before").parse().ok();
    let lines = read(&context, &person, &fields, From::Before(before), PAGE).await?;
    let stats = context.state().ledger.stats();
    let link = |before: &str| {
        let pairs = NAMES.map(|name| (name, fields.trimmed(name)));
        let pairs = [&pairs[..], &[("before", before)]].concat();
        format!("/ledger?{}", text::query(&pairs))
    };
    let text = |name: &str| fields.trimmed(name).to_owned();
    let pairs = NAMES.map(|name| (name, fields.trimmed(name)));
    let page = LedgerPage {
        layout: Layout::new("Ledger", Section::Ledger, &person),
        live: match before {
            Some(_) => String::new(),
            None => format!("?{}", text::query(&pairs)),
        },
        check: check(&context, &person, stats.size),
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
        is_filtered: NAMES.iter().any(|name| !fields.trimmed(name).is_empty()),
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

/// The check that runs, or the last one. It reads every line, so it is for those who see every line.
fn check(context: &AdminContext, person: &Person, size: u64) -> Check {
    if !sees_all(person) {
        return Check::default();
    }
    let latest = context.services().check.latest();
    if let Some(lines) = latest.progress() {
        return Check {
            running: Some(lines),
            of: size.max(lines),
            ..Check::default()
        };
    }
    let Latest::Ended { at, found } = latest else {
        return Check::default();
    };
    let (said, class) = match found {
        Found::Whole {
            lines,
            checkpoints,
            unsigned,
            ..
        } => {
            let lines = text::count(lines, "line is", "lines are");
            let signed = text::count(checkpoints, "signed checkpoint", "signed checkpoints");
            let rest = text::count(unsigned, "line after it is", "lines after them are");
            let rest = match unsigned {
                0 => String::new(),
                _ => format!(" {rest} chained, and not signed yet."),
            };
            (
                format!("{lines} whole, in order and as {signed} say.{rest}"),
                "good",
            )
        }
        Found::Wrong(flaw) => (
            format!("The ledger does not verify: {}", text::explanation(&flaw)),
            "bad",
        ),
        Found::Unreadable => (
            "The files cannot be read. The reason is in Egret's log.".to_owned(),
            "bad",
        ),
    };
    Check {
        said,
        class,
        at: When::of(at).html(),
        ..Check::default()
    }
}

/// `POST /ledger/check`: begins to check every line, unless a check runs.
pub(super) async fn begin_check(
    State(context): State<AdminContext>,
    person: Person,
) -> Result<Redirect, Failure> {
    if !sees_all(&person) {
        return Err(Failure::Problem(AdminProblem::because(
            Trouble::Forbidden,
            "Administrators and auditors check the ledger: it has lines about everybody.",
        )));
    }
    context.services().begin_check(Ask::default())?;
    Ok(Redirect::to("/ledger"))
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
        time: When::of(record.time).stamp(),
        event: text::shown(&entry.event),
        class: match &*entry.event {
            event::DENIED | event::DAMAGED | event::INTERRUPTED => "bad",
            event::USE => "good",
            event::SCRUBBED | event::RECOVERED | event::IGNORED | event::TAKEN_BACK => "warn",
            _ => "quiet",
        },
        sentence: sentence(entry),
        is_covered: record.seq <= covered,
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
