//! Lines in the forms of other programs.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::format::event;
use super::format::outcome;
use super::format::record_ref::RecordRef;
use super::format::text::Text;
use super::format::timestamp::Timestamp;
use super::format::value::Cell;

/// The first line of a CSV file: the keys in the order of the ledger.
pub fn csv_header() -> String {
    RecordRef::KEYS.join(",") + CSV_LINE_END
}

/// How a record of RFC 4180 ends.
const CSV_LINE_END: &str = "\r\n";

/// A line as a record of RFC 4180, with its line ending. `locations` is a JSON array within its
/// field; what is `null` is empty.
pub fn csv(line: &RecordRef<'_>) -> String {
    line.cells().map(csv_field).join(",") + CSV_LINE_END
}

fn csv_field(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Number(number) => number.to_string(),
        Cell::Text(text) => csv_text(text).into_owned(),
        Cell::Texts(_) => csv_text(&json(cell).to_string()).into_owned(),
    }
}

/// Text in a field. Actions and paths are what clients choose to say, and a spreadsheet would run
/// `=HYPERLINK(…)`: an apostrophe makes it text
/// (<https://owasp.org/www-community/attacks/CSV_Injection>).
pub fn csv_text(text: &str) -> Cow<'_, str> {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_quoted = text.contains([',', '"', '\r', '\n', '\t']);
    if !is_formula && !is_quoted {
        return text.into();
    }
    let guard = if is_formula { "'" } else { "" };
    format!("\"{guard}{}\"", text.replace('"', "\"\"")).into()
}

/// The version of the schema that [`ocsf`] follows.
const OCSF_VERSION: &str = "1.3.0";
/// Category Application Activity.
const CATEGORY: u64 = 6;
/// Class API Activity.
const CLASS: u64 = 6003;

/// A line as an event of OCSF class API Activity (<https://schema.ocsf.io/1.3.0/classes/api_activity>):
/// all that the class requires, what it recommends as far as the ledger knows it, and the rest
/// under `unmapped`.
pub fn ocsf(line: &RecordRef<'_>) -> Value {
    let (activity_id, activity_name) = activity(line);
    let (status_id, status) = status(line);
    let time: Timestamp = line
        .time
        .parse()
        .unwrap_or_else(|_| Timestamp::from_unix_micros(0));
    let mut event = json!({
        "activity_id": activity_id,
        "activity_name": activity_name,
        "category_uid": CATEGORY,
        "category_name": "Application Activity",
        "class_uid": CLASS,
        "class_name": "API Activity",
        "type_uid": CLASS * 100 + activity_id,
        "severity_id": severity(&line.event),
        "time": time.unix_micros() / 1000,
        "status_id": status_id,
        "status": status,
        "metadata": metadata(line),
        "actor": actor(line),
        "api": api(line),
        "src_endpoint": { "name": text(&line.client).unwrap_or("egret"), "svc_name": "egret" },
        "unmapped": unmapped(line),
    });
    if let Some(event) = event.as_object_mut() {
        add(event, "status_code", text(&line.code));
        add(event, "duration", line.duration_ms);
        add(event, "resources", resources(line));
        if let Some(place) = Place::of(line) {
            event.insert("dst_endpoint".into(), place.endpoint());
            event.insert("http_request".into(), place.request(line));
        }
        if let Some(code) = line.status {
            event.insert("http_response".into(), json!({ "code": code }));
        }
    }
    event
}

fn text<'a>(text: &'a Option<Text<'_>>) -> Option<&'a str> {
    text.as_deref()
}

fn add(object: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

/// What was done to the thing at the other end; for a change made here, to the credential.
fn activity(line: &RecordRef<'_>) -> (u64, String) {
    let of_method = |method: &str| match method {
        "POST" => Some((1, "Create")),
        "GET" | "HEAD" | "OPTIONS" => Some((2, "Read")),
        "PUT" | "PATCH" => Some((3, "Update")),
        "DELETE" => Some((4, "Delete")),
        _ => None,
    };
    let of_change = || match line.event.split_once('.')? {
        ("ledger", _) => None,
        (_, "created" | "added") => Some((1, "Create")),
        (_, "deleted" | "removed") => Some((4, "Delete")),
        _ => Some((3, "Update")),
    };
    let known = match text(&line.method) {
        Some(method) => of_method(method),
        None => of_change(),
    };
    let other = || text(&line.method).unwrap_or(&line.event).to_owned();
    known.map_or_else(|| (99, other()), |(id, name)| (id, name.to_owned()))
}

fn severity(name: &str) -> u64 {
    match name {
        event::DENIED => 2,
        event::SCRUBBED | event::RECOVERED | event::TAKEN_BACK => 3,
        event::INTERRUPTED | event::DAMAGED => 4,
        _ => 1,
    }
}

fn status(line: &RecordRef<'_>) -> (u64, &'static str) {
    match text(&line.outcome) {
        Some(outcome::USED | outcome::ATTACHED | outcome::FORWARDED) => (1, "Success"),
        Some(outcome::DENIED | outcome::FAILED) => (2, "Failure"),
        Some(_) => (99, "Other"),
        None => (0, "Unknown"),
    }
}

fn metadata(line: &RecordRef<'_>) -> Value {
    json!({
        "version": OCSF_VERSION,
        "product": { "name": "Egret", "vendor_name": "Egret", "version": env!("CARGO_PKG_VERSION") },
        "log_name": "ledger",
        "event_code": &*line.event,
        "sequence": line.seq,
        "uid": line.seq.to_string(),
        "original_time": &*line.time,
    })
}

/// The class wants one of user, application and others to be named.
fn actor(line: &RecordRef<'_>) -> Value {
    let mut actor = Map::new();
    let user = text(&line.principal).or(text(&line.owner));
    add(&mut actor, "user", user.map(|name| json!({ "name": name })));
    add(&mut actor, "app_name", text(&line.client));
    add(
        &mut actor,
        "session",
        text(&line.run).map(|run| json!({ "uid": run })),
    );
    if actor.is_empty() {
        add(&mut actor, "app_name", Some("egret"));
    }
    actor.into()
}

fn api(line: &RecordRef<'_>) -> Value {
    let operation = match (text(&line.method), text(&line.path)) {
        (Some(method), Some(path)) => format!("{method} {path}"),
        (Some(method), None) => method.to_owned(),
        (None, _) => line.event.to_string(),
    };
    let mut api = Map::new();
    add(&mut api, "operation", Some(operation));
    let request = text(&line.request).map(|id| json!({ "uid": id }));
    add(&mut api, "request", request);
    let service = Place::of(line).map(|place| json!({ "name": place.host }));
    add(&mut api, "service", service);
    if line.status.is_some() || line.code.is_some() {
        let mut response = Map::new();
        add(&mut response, "code", line.status);
        add(&mut response, "error", text(&line.code));
        add(&mut api, "response", Some(response));
    }
    api.into()
}

/// The credential, which is what a change changes and a use uses.
fn resources(line: &RecordRef<'_>) -> Option<Value> {
    let mut resource = Map::new();
    add(&mut resource, "type", Some("credential"));
    add(&mut resource, "name", Some(text(&line.slug)?));
    add(
        &mut resource,
        "version",
        line.version.map(|version| version.to_string()),
    );
    add(
        &mut resource,
        "owner",
        text(&line.owner).map(|name| json!({ "name": name })),
    );
    Some(json!([resource]))
}

/// Keys that have a place of their own in the event.
const MAPPED: &[&str] = &[
    "seq",
    "time",
    "request",
    "slug",
    "version",
    "owner",
    "principal",
    "client",
    "run",
    "method",
    "destination",
    "path",
    "code",
    "status",
    "duration_ms",
];

fn unmapped(line: &RecordRef<'_>) -> Value {
    let members = RecordRef::KEYS.iter().zip(line.cells());
    let rest = members.filter(|(key, _)| !MAPPED.contains(key));
    rest.map(|(key, cell)| ((*key).to_owned(), json(cell)))
        .collect::<Map<_, _>>()
        .into()
}

fn json(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Number(number) => number.into(),
        Cell::Text(text) => text.into(),
        Cell::Texts(texts) => texts.iter().map(|text| &**text).collect(),
    }
}

/// The destination, taken apart: `https://api.example.com:443`.
struct Place<'a> {
    scheme: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Place<'a> {
    fn of(line: &'a RecordRef<'_>) -> Option<Self> {
        let (scheme, authority) = text(&line.destination)?.split_once("://")?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (authority, None),
        };
        Some(Self { scheme, host, port })
    }

    fn endpoint(&self) -> Value {
        let mut endpoint = Map::new();
        add(&mut endpoint, "hostname", Some(self.host));
        add(&mut endpoint, "port", self.port);
        endpoint.into()
    }

    fn request(&self, line: &RecordRef<'_>) -> Value {
        let path = text(&line.path).unwrap_or("/");
        let destination = text(&line.destination).unwrap_or_default();
        let mut url = Map::new();
        add(&mut url, "scheme", Some(self.scheme));
        add(&mut url, "hostname", Some(self.host));
        add(&mut url, "port", self.port);
        add(&mut url, "path", Some(path));
        add(&mut url, "url_string", Some(format!("{destination}{path}")));
        let mut request = Map::new();
        add(&mut request, "url", Some(url));
        add(&mut request, "http_method", text(&line.method));
        add(&mut request, "uid", text(&line.request));
        request.into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ledger::format::chain::Chain;
    use crate::ledger::format::entry::Entry;

    const GOLDEN: &str = include_str!("../../tests/golden/ledger-record.jsonl");

    fn views() -> Vec<RecordRef<'static>> {
        let lines = GOLDEN.lines();
        lines
            .map(|line| RecordRef::parse(line.as_bytes()).unwrap())
            .collect()
    }

    /// Reads RFC 4180 as a spreadsheet does.
    fn read_csv(text: &str) -> Vec<Vec<String>> {
        let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
        let mut is_quoted = false;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if is_quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => row.push(std::mem::take(&mut field)),
                '\r' if !is_quoted => {
                    assert_eq!(chars.next(), Some('\n'));
                    row.push(std::mem::take(&mut field));
                    rows.push(std::mem::take(&mut row));
                }
                c => field.push(c),
            }
        }
        assert!(row.is_empty() && field.is_empty() && !is_quoted);
        rows
    }

    #[test]
    fn csv_has_a_column_for_each_key() {
        let lines: String = views().iter().map(csv).collect();
        let rows = read_csv(&(csv_header() + &lines));
        assert_eq!(rows.len(), 5);
        for (row, line) in rows[1..].iter().zip(GOLDEN.lines()) {
            let object: Map<String, Value> = serde_json::from_str(line).unwrap();
            let mut known: Vec<&str> = object.keys().map(String::as_str).collect();
            let mut named: Vec<&str> = rows[0].iter().map(String::as_str).collect();
            known.sort_unstable();
            named.sort_unstable();
            assert_eq!(named, known);
            for (key, cell) in rows[0].iter().zip(row) {
                let expected = match &object[key] {
                    Value::Null => String::new(),
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                assert_eq!(*cell, expected, "{key}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_out_of_its_cell_or_is_a_formula(action in any::<String>()) {
            let mut line = Vec::new();
            let entry = Entry { action: Some(action.as_str().into()), ..Entry::new("use") };
            Chain::start().append(Timestamp::from_unix_micros(7), &entry.encode(), &mut line);
            line.pop();
            let row = csv(&RecordRef::parse(&line).unwrap());
            let rows = read_csv(&row);
            prop_assert_eq!(rows.len(), 1);
            prop_assert_eq!(rows[0].len(), RecordRef::KEYS.len());
            let cell = &rows[0][10];
            prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r']));
            prop_assert_eq!(cell.strip_prefix('\'').unwrap_or(cell), action.strip_prefix('\'').unwrap_or(&action));
        }
    }

    #[test]
    fn a_formula_is_made_text() {
        assert_eq!(csv_text("=1+1"), "\"'=1+1\"");
        assert_eq!(csv_text("-x,\"y\""), "\"'-x,\"\"y\"\"\"");
        assert_eq!(csv_text("plain"), "plain");
    }

    /// What class 6003 of version 1.3.0 requires, and its objects in turn.
    #[test]
    fn ocsf_events_have_what_their_class_requires() {
        let required = [
            "/activity_id",
            "/category_uid",
            "/class_uid",
            "/type_uid",
            "/severity_id",
            "/time",
            "/metadata/version",
            "/metadata/product/vendor_name",
            "/actor",
            "/api/operation",
            "/src_endpoint",
        ];
        for view in views() {
            let event = ocsf(&view);
            for pointer in required {
                let value = event.pointer(pointer);
                assert!(
                    value.is_some_and(|value| !value.is_null()),
                    "{pointer}: {event}"
                );
            }
            let activity = event["activity_id"].as_u64().unwrap();
            assert_eq!(event["type_uid"], 600_300 + activity);
            let actor = event["actor"].as_object().unwrap();
            assert!(
                ["user", "app_name"]
                    .iter()
                    .any(|key| actor.contains_key(*key))
            );
        }
    }

    #[test]
    fn a_use_is_an_api_call_by_a_user_on_a_credential() {
        let event = ocsf(&views()[0]);
        assert_eq!(event["activity_name"], "Create");
        assert_eq!(event["status"], "Success");
        assert_eq!(event["time"], 1_795_339_800_000_i64);
        assert_eq!(event["actor"]["user"]["name"], "bob");
        assert_eq!(event["actor"]["app_name"], "laptop");
        assert_eq!(
            event["api"]["operation"],
            "POST /login/<<crm-login.username>>"
        );
        assert_eq!(event["resources"][0]["name"], "crm-login");
        assert_eq!(event["resources"][0]["version"], "3");
        assert_eq!(
            event["dst_endpoint"],
            json!({"hostname": "crm.example.com", "port": 443})
        );
        assert_eq!(event["http_request"]["http_method"], "POST");
        assert_eq!(event["unmapped"]["action"], "weekly-report");
    }

    #[test]
    fn refusals_and_changes_are_told_apart() {
        let views = views();
        let denied = ocsf(&views[2]);
        assert_eq!(
            (&denied["status"], &denied["severity_id"]),
            (&json!("Failure"), &json!(2))
        );
        assert_eq!(denied["status_code"], "credential_not_allowed");
        let created = ocsf(&views[3]);
        assert_eq!(created["activity_name"], "Create");
        assert_eq!(created["api"]["operation"], "credential.created");
        assert!(created.get("http_request").is_none());
    }
}
