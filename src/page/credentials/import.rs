//! Import: the keys of a file, looked at before anything is saved.

use std::collections::{BTreeMap, HashSet};

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};

use super::facts;
use crate::admin::AdminContext;
use crate::admin::imports::{Entry, Fate, Saver, Shown, Stage};
use crate::import::{Format, propose};
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout::{self, Layout, Section};
use crate::page::person::Person;
use crate::page::text;
use crate::page::visit::{Query, Sent};
use crate::policy::grant::HostPattern;

const PATH: &str = "/settings/credentials/import";
/// Most entries of a file here: each is a row that somebody looks at.
const MOST: usize = 500;

#[derive(Template)]
#[template(path = "import.html")]
struct FilePage<'a> {
    layout: Layout,
    format: String,
    wrong: &'a Wrong,
}

#[derive(Template)]
#[template(path = "import-rows.html")]
struct RowsPage<'a> {
    layout: Layout,
    path: String,
    rows: Vec<Row>,
    is_waiting: bool,
    /// How many are done, and of how many, while they are saved.
    progress: Option<(usize, usize)>,
    /// What happened, in a sentence.
    said: String,
    wrong: &'a Wrong,
}

struct Row {
    number: usize,
    line: usize,
    slug: String,
    href: String,
    kind: &'static str,
    service: &'static str,
    hosts: String,
    places: String,
    exists: bool,
    is_chosen: bool,
    fate: String,
    class: &'static str,
}

/// `GET /settings/credentials/import`
pub(super) async fn ask(person: Person, Query(fields): Query) -> Response {
    layout::page(&file_page(&person, &fields, &Wrong::default()))
}

fn file_page<'a>(person: &Person, fields: &Fields, wrong: &'a Wrong) -> FilePage<'a> {
    FilePage {
        layout: Layout::new("Import credentials", Section::Credentials, person),
        format: fields.text("format").to_owned(),
        wrong,
    }
}

/// `POST /settings/credentials/import`: reads the file and saves nothing.
pub(super) async fn read(
    State(context): State<AdminContext>,
    sent: Sent,
) -> Result<Response, Failure> {
    let Sent { person, mut fields } = sent;
    let content = fields.take_value("value");
    let mut wrong = Wrong::default();
    let proposals = match std::str::from_utf8(content.expose()) {
        Err(_) => {
            wrong.add("value", "It is no text in UTF-8.");
            Vec::new()
        }
        Ok(text) => {
            let format = fields.text("format").parse();
            let format = format.unwrap_or_else(|_| Format::of("", text));
            let rows = format.read(text).unwrap_or_else(|error| {
                wrong.add("value", format!("It cannot be read. {error}."));
                Vec::new()
            });
            propose(rows, HashSet::new())
        }
    };
    drop(content);
    if wrong.is_empty() && proposals.is_empty() {
        wrong.add("value", "It has no entry with a value.");
    }
    if proposals.len() > MOST {
        let more = "It has more than 500 entries; `egret credential import` takes more.";
        wrong.add("value", more);
    }
    if !wrong.is_empty() {
        return Ok(layout::refused(&file_page(&person, &fields, &wrong)));
    }
    let sight = person.look(&context).await?;
    let imports = &context.services().imports;
    let name = imports.keep(person.name(), proposals, sight.own_slugs())?;
    Ok(Redirect::to(&format!("{PATH}/{name}")).into_response())
}

/// `GET /settings/credentials/import/{name}`: what would be saved, how far it is, or what became of it.
pub(super) async fn show(
    State(context): State<AdminContext>,
    person: Person,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let shown = found(&context, &person, &name)?;
    let wrong = Wrong::default();
    let page = rows_page(&person, &name, &shown, None, &wrong);
    Ok(layout::page(&page))
}

fn found(context: &AdminContext, person: &Person, name: &str) -> Result<Shown, Failure> {
    let shown = context.services().imports.look(person.name(), name);
    shown.ok_or_else(Failure::not_found)
}

/// `POST /settings/credentials/import/{name}`: saves what is ticked.
pub(super) async fn save(
    State(context): State<AdminContext>,
    Path(name): Path<String>,
    sent: Sent,
) -> Result<Response, Failure> {
    let Sent { person, fields } = &sent;
    let shown = found(&context, person, &name)?;
    let mut wrong = Wrong::default();
    let chosen = chosen(fields, &shown.entries, &mut wrong);
    if shown.stage == Stage::Waiting && (!wrong.is_empty() || chosen.is_empty()) {
        if wrong.is_empty() {
            wrong.add("entries", "Tick at least one.");
        }
        let page = rows_page(person, &name, &shown, Some(fields), &wrong);
        return Ok(layout::refused(&page));
    }
    let saver = Saver {
        registrar: context.registrar(),
        recorder: context.services().recorder.clone(),
        actor: person.actor(),
    };
    let imports = &context.services().imports;
    imports.begin(person.name(), &name, chosen, saver);
    Ok(Redirect::to(&format!("{PATH}/{name}")).into_response())
}

/// What is ticked, with its hosts. The address of a credential that is there stays as it is.
fn chosen(
    fields: &Fields,
    entries: &[Entry],
    wrong: &mut Wrong,
) -> BTreeMap<usize, Vec<HostPattern>> {
    let mut chosen = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        if !fields.is_ticked(&format!("take-{at}")) {
            continue;
        }
        let mut of_row = Wrong::default();
        let hosts = of_row.read("hosts", fields.items(&format!("hosts-{at}")));
        let detail = match of_row.of("hosts") {
            "" if hosts.is_empty() && !entry.exists => "name the hosts that may receive it",
            detail => detail,
        };
        if detail.is_empty() {
            chosen.insert(at, hosts);
        } else if wrong.is_empty() {
            let slug = &entry.slug;
            wrong.add("entries", format!("{slug}, line {}: {detail}.", entry.line));
        }
    }
    chosen
}

/// `POST /settings/credentials/import/{name}/discard`
pub(super) async fn discard(
    State(context): State<AdminContext>,
    person: Person,
    Path(name): Path<String>,
) -> Redirect {
    context.services().imports.discard(person.name(), &name);
    Redirect::to("/settings/credentials")
}

fn rows_page<'a>(
    person: &Person,
    name: &str,
    shown: &Shown,
    typed: Option<&Fields>,
    wrong: &'a Wrong,
) -> RowsPage<'a> {
    let entries = shown.entries.iter().enumerate();
    RowsPage {
        layout: Layout::new("Import credentials", Section::Credentials, person),
        path: format!("{PATH}/{name}"),
        rows: entries
            .map(|(at, entry)| row(person, at, entry, typed))
            .collect(),
        is_waiting: shown.stage == Stage::Waiting,
        progress: match shown.stage {
            Stage::Saving { done, of } => Some((done, of)),
            Stage::Waiting | Stage::Ended => None,
        },
        said: said(shown),
        wrong,
    }
}

fn row(person: &Person, number: usize, entry: &Entry, typed: Option<&Fields>) -> Row {
    let join = |items: Vec<String>| items.join(" ");
    let hosts = join(entry.hosts.iter().map(ToString::to_string).collect());
    let (fate, class) = match &entry.fate {
        Fate::Waits => ("waits".to_owned(), "quiet"),
        Fate::LeftOut => ("left out".to_owned(), "quiet"),
        Fate::Saved => ("saved".to_owned(), "good"),
        Fate::Replaced => ("value replaced".to_owned(), "good"),
        Fate::Refused(why) => (text::explanation(why), "bad"),
    };
    Row {
        number,
        line: entry.line,
        slug: entry.slug.to_string(),
        href: facts::path(person.name(), &entry.slug),
        kind: entry.kind.as_str(),
        service: entry.service.map_or("", |service| &service.name),
        hosts: match typed {
            Some(fields) => fields.text(&format!("hosts-{number}")).to_owned(),
            None => hosts.clone(),
        },
        places: join(entry.locations.iter().map(ToString::to_string).collect()),
        exists: entry.exists,
        is_chosen: match typed {
            Some(fields) => fields.is_ticked(&format!("take-{number}")),
            None => !entry.exists && !hosts.is_empty(),
        },
        fate,
        class,
    }
}

/// What became of all.
fn said(shown: &Shown) -> String {
    if shown.stage != Stage::Ended {
        return String::new();
    }
    let count = |wanted: fn(&Fate) -> bool| {
        let entries = shown.entries.iter();
        entries.filter(|entry| wanted(&entry.fate)).count() as u64
    };
    let saved = count(|fate| *fate == Fate::Saved);
    let replaced = count(|fate| *fate == Fate::Replaced);
    let refused = count(|fate| matches!(fate, Fate::Refused(_)));
    let mut said = text::count(saved, "credential is", "credentials are") + " saved.";
    if replaced > 0 {
        said += &format!(
            " {} replaced.",
            text::count(replaced, "value is", "values are")
        );
    }
    if refused > 0 {
        said += &format!(
            " {} not saved: see below.",
            text::count(refused, "is", "are")
        );
    }
    said + " The file still holds the values: delete it when its programs use placeholders."
}
