//! One record as a line for people.

use crate::cli::output::{Style, printable};
use crate::ledger::{Entry, Record, event, outcome};

/// One record as a line for people.
pub(in crate::cli) fn describe(record: &Record, style: Style) -> String {
    let entry = &record.entry;
    let time = record.time.to_string().replace('T', " ");
    let name = format!("{:8}", entry.event);
    let name = match &*entry.event {
        event::USE => style.green(&name),
        event::DENIED | event::INTERRUPTED | event::DAMAGED => style.red(&name),
        event::IGNORED | event::SCRUBBED | event::RECOVERED | event::TAKEN_BACK => {
            style.yellow(&name)
        }
        event::RESULT => style.dim(&name),
        _ => style.cyan(&name),
    };
    let mut parts = vec![style.dim(time.get(..19).unwrap_or(&time)), name];
    if is_administrative(entry) {
        parts.extend(change(entry, style));
        return parts.join(" ");
    }
    parts.extend(what(entry).map(|slug| style.bold(&slug)));
    parts.extend(target(entry));
    if !entry.locations.is_empty() {
        parts.push(format!("in {}", printable(&entry.locations.join(", "))));
    }
    parts.extend(ending(entry, style));
    let who = who(entry);
    if !who.is_empty() {
        parts.push(style.dim(&who));
    }
    parts.join(" ")
}

/// What is changed by administrative events, and how the principal of such a line is related to it.
const FAMILIES: &[(&str, &str)] = &[
    ("credential.", "with "),
    ("client.", "for "),
    ("bundle.", "with "),
    ("user.", ""),
    ("group.", "with "),
    ("egress.", ""),
    ("approval.", "for "),
    ("request.", "for "),
    ("store.", "for "),
    ("ca.", ""),
];

/// Whether a line is about a change of a credential, a client or a user, and not about a request.
fn is_administrative(entry: &Entry) -> bool {
    relation(entry).is_some()
}

fn relation(entry: &Entry) -> Option<&'static str> {
    let mut families = FAMILIES.iter();
    let family = families.find(|(family, _)| entry.event.starts_with(family));
    family.map(|(_, relation)| *relation)
}

/// `slug@version with principal (by actor)`, `client for principal (by actor)`, and what else is
/// said about the change. Its time and its number are in the line's own columns, or for programs.
fn change(entry: &Entry, style: Style) -> Vec<String> {
    let mut parts = Vec::new();
    parts.extend(what(entry).map(|slug| style.bold(&slug)));
    parts.extend(
        entry
            .client
            .as_deref()
            .map(|name| style.bold(&printable(name))),
    );
    if let Some(principal) = &entry.principal {
        let relation = relation(entry).unwrap_or_default();
        parts.push(format!("{relation}{}", printable(principal)));
    }
    let is_for_programs =
        |detail: &str| detail.starts_with("since ") || detail.starts_with("change ");
    let details = entry
        .locations
        .iter()
        .filter(|detail| !is_for_programs(detail));
    let details: Vec<_> = details.map(|detail| printable(detail)).collect();
    if !details.is_empty() {
        parts.push(format!("[{}]", details.join(", ")));
    }
    if let Some(actor) = &entry.action {
        parts.push(style.dim(&format!("(by {})", printable(actor))));
    }
    parts
}

/// `slug.field@version`
fn what(entry: &Entry) -> Option<String> {
    let mut text = printable(entry.slug.as_deref()?);
    if let Some(field) = &entry.field {
        text.push('.');
        text.push_str(&printable(field));
    }
    if let Some(version) = entry.version {
        text.push_str(&format!("@{version}"));
    }
    Some(text)
}

/// `GET https://api.example.com/v1/things`, the port only where it is not the usual one.
fn target(entry: &Entry) -> Option<String> {
    let destination = entry.destination.as_deref()?;
    let usual = |scheme: &str, port: &str| destination.strip_prefix(scheme)?.strip_suffix(port);
    let short = match (usual("https://", ":443"), usual("http://", ":80")) {
        (Some(host), _) => format!("https://{host}"),
        (_, Some(host)) => format!("http://{host}"),
        _ => destination.to_owned(),
    };
    let method = entry.method.as_deref().unwrap_or("-");
    let path = entry.path.as_deref().unwrap_or_default();
    Some(printable(&format!("{method} {short}{path}")))
}

/// `-> 200 in 12 ms`, or the code of what went wrong.
fn ending(entry: &Entry, style: Style) -> Option<String> {
    let took = entry
        .duration_ms
        .map(|ms| format!(" in {ms} ms"))
        .unwrap_or_default();
    if let Some(code) = &entry.code {
        return Some(style.red(&format!("-> {}{took}", printable(code))));
    }
    let text = match (entry.status, entry.outcome.as_deref()) {
        (Some(status), _) => format!("-> {status}{took}"),
        (None, Some(outcome::CLIENT_GONE)) => format!("-> the client disconnected{took}"),
        (None, Some(outcome::FAILED)) => format!("-> failed{took}"),
        _ => return None,
    };
    Some(text)
}

/// `(action of client for principal, run)`
fn who(entry: &Entry) -> String {
    let mut text = entry.action.as_deref().unwrap_or_default().to_owned();
    let mut add = |prefix: &str, value: Option<&str>| {
        if let Some(value) = value {
            let space = if text.is_empty() { "" } else { " " };
            text.push_str(&format!("{space}{prefix}{value}"));
        }
    };
    add("run ", entry.run.as_deref());
    add("by ", entry.client.as_deref());
    add("for ", entry.principal.as_deref());
    if text.is_empty() {
        text
    } else {
        format!("({})", printable(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::format::line_hash::LineHash;
    use crate::ledger::{Text, Timestamp};

    const PLAIN: Style = Style::plain();

    fn text(value: &'static str) -> Option<Text<'static>> {
        Some(value.into())
    }

    fn line(entry: Entry<'static>) -> String {
        let record = Record {
            seq: 1,
            time: Timestamp::from_unix_micros(1_795_339_800_123_456),
            entry,
            prev: LineHash::of(b""),
        };
        describe(&record, PLAIN)
    }

    #[test]
    fn a_use_says_what_where_and_who() {
        let entry = Entry {
            slug: text("crm"),
            field: text("password"),
            version: Some(3),
            action: text("report"),
            run: text("run-8"),
            client: text("laptop"),
            principal: text("alice"),
            method: text("GET"),
            destination: text("https://api.example.com:443"),
            path: text("/v1/<<crm.password>>"),
            locations: vec!["path".into()],
            outcome: Some(outcome::USED.into()),
            ..Entry::new(event::USE)
        };
        assert_eq!(
            line(entry),
            "2026-11-22 09:30:00 use      crm.password@3 \
             GET https://api.example.com/v1/<<crm.password>> in path \
             (report run run-8 by laptop for alice)"
        );
    }

    #[test]
    fn a_change_says_of_what_for_whom_and_by_whom() {
        let entry = Entry {
            client: text("laptop"),
            principal: text("alice"),
            action: text("cli:bob"),
            ..Entry::new("client.added")
        };
        let added = "2026-11-22 09:30:00 client.added laptop for alice (by cli:bob)";
        assert_eq!(line(entry), added);
        let entry = Entry {
            slug: text("crm"),
            version: Some(2),
            principal: text("carol"),
            action: text("cli:bob"),
            ..Entry::new("credential.shared")
        };
        let shared = "2026-11-22 09:30:00 credential.shared crm@2 with carol (by cli:bob)";
        assert_eq!(line(entry), shared);
        let entry = Entry {
            principal: text("alice"),
            action: text("cli:bob"),
            locations: vec![
                "since 2026-11-22T09:29:59Z".into(),
                "change 4".into(),
                "role member".into(),
            ],
            ..Entry::new("user.added")
        };
        let added = "2026-11-22 09:30:00 user.added alice [role member] (by cli:bob)";
        assert_eq!(line(entry), added);
    }

    #[test]
    fn an_unusual_port_is_shown() {
        let entry = |destination: &'static str| Entry {
            destination: text(destination),
            ..Entry::new(event::USE)
        };
        assert!(line(entry("http://a.example:80")).ends_with("- http://a.example"));
        assert!(line(entry("https://a.example:80")).ends_with("- https://a.example:80"));
    }

    #[test]
    fn endings_name_the_status_or_what_went_wrong() {
        let entry = |status, code: Option<&'static str>, outcome: &'static str| Entry {
            status,
            code: code.map(Into::into),
            outcome: Some(outcome.into()),
            duration_ms: Some(12),
            ..Entry::new(event::RESULT)
        };
        let ok = line(entry(Some(200), None, outcome::FORWARDED));
        assert!(ok.ends_with("-> 200 in 12 ms"), "{ok}");
        let failed = line(entry(
            Some(502),
            Some("upstream_unreachable"),
            outcome::FAILED,
        ));
        assert!(
            failed.ends_with("-> upstream_unreachable in 12 ms"),
            "{failed}"
        );
        let gone = line(entry(None, None, outcome::CLIENT_GONE));
        assert!(
            gone.ends_with("-> the client disconnected in 12 ms"),
            "{gone}"
        );
    }

    #[test]
    fn what_a_client_chose_cannot_move_the_cursor() {
        let entry = Entry {
            path: text("/\x1b[2J"),
            destination: text("https://a.example:443"),
            action: text("x\x07"),
            ..Entry::new(event::DENIED)
        };
        assert!(!line(entry).contains(char::is_control));
    }
}
