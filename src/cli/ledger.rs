//! `egret ledger`: the usage record, read.

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::context::{Context, ledger_directory};
use super::output::{self, Style, printable};
use super::when;
use crate::ledger::CURRENT;
use crate::ledger::reader::{Filter, Follower, Line, Lines, ReadError};
use crate::ledger::record::{Entry, Record, Timestamp, event, outcome};

/// How often a followed ledger is looked at.
const POLL: Duration = Duration::from_millis(200);

/// How many lines a terminal gets without being asked.
const TERMINAL_LINES: usize = 100;

/// Read the usage record
#[derive(Args)]
pub(super) struct Ledger {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tail(Tail),
}

/// Print the usage record, and follow it
///
/// A line for each use of a credential, its result, each refusal and each administrative change.
/// With --json a line is the record itself, byte for byte as it stands in the ledger.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret ledger tail -f                             watch what happens
  egret ledger tail --slug github-pat --since 1d   who used it since yesterday
  egret ledger tail --event denied                 what was refused, and why
  egret ledger tail --event use --json | jq .action")]
struct Tail {
    /// Wait for more and print it as it comes
    #[arg(short, long)]
    follow: bool,
    /// Only the last N lines; by default all of them, on a terminal the last 100
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Only this credential
    #[arg(long)]
    slug: Option<String>,
    /// Only this action
    #[arg(long)]
    action: Option<String>,
    /// Only this execution of an action
    #[arg(long)]
    run: Option<String>,
    /// Only this principal
    #[arg(long)]
    principal: Option<String>,
    /// Only this client
    #[arg(long)]
    client: Option<String>,
    /// Only this destination: a host, host:port, or as the ledger has it
    #[arg(long)]
    destination: Option<String>,
    /// Only this event: use, result, denied, ignored, credential, credential.rotated, client, …
    #[arg(long)]
    event: Option<String>,
    /// Only this outcome: used, denied, forwarded, failed, client_gone
    #[arg(long)]
    outcome: Option<String>,
    /// Only from then on: 1h, 2026-11-22, 2026-11-22T09:30:00Z
    #[arg(long, value_name = "TIME", value_parser = when::in_past)]
    since: Option<i64>,
    /// Print the records themselves, one JSON object a line
    #[arg(long)]
    json: bool,
}

impl Ledger {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<()> {
        let Command::Tail(tail) = self.command;
        let path = ledger_directory(&context.load()?.config).join(CURRENT);
        tail.run(&path)
    }
}

impl Tail {
    fn run(self, path: &Path) -> anyhow::Result<()> {
        let filter = self.filter();
        let style = Style::of_stdout();
        let show = |line: &Line| match self.json {
            true => format!("{}\n", line.text),
            false => format!("{}\n", describe(&line.record, style)),
        };
        let mut lines = match Lines::open(path) {
            Ok(lines) => Some(lines),
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(lines) = &mut lines {
            self.print_present(lines, &filter, show)?;
        } else if !self.follow {
            output::note("the ledger is empty: no credential was used or changed yet");
        }
        if !self.follow {
            return Ok(());
        }
        let mut follower = match lines {
            Some(lines) => Follower::after(lines),
            None => Follower::from_start(path),
        };
        loop {
            for line in follower.poll() {
                print_line(line, &filter, show)?;
            }
            std::thread::sleep(POLL);
        }
    }

    /// What is there already, or the end of it.
    fn print_present(
        &self,
        lines: &mut Lines,
        filter: &Filter,
        show: impl Fn(&Line) -> String,
    ) -> anyhow::Result<()> {
        let terminal = io::stdout().is_terminal().then_some(TERMINAL_LINES);
        let Some(last) = self.lines.or(terminal) else {
            return lines.try_for_each(|line| print_line(line, filter, &show));
        };
        let mut kept = VecDeque::new();
        for line in lines {
            if !line
                .as_ref()
                .is_ok_and(|line| !filter.matches(&line.record))
            {
                kept.push_back(line);
            }
            if kept.len() > last {
                kept.pop_front();
            }
        }
        kept.into_iter()
            .try_for_each(|line| print_line(line, filter, &show))
    }

    fn filter(&self) -> Filter {
        Filter {
            slug: self.slug.clone(),
            action: self.action.clone(),
            run: self.run.clone(),
            principal: self.principal.clone(),
            client: self.client.clone(),
            destination: self.destination.clone(),
            event: self.event.clone(),
            outcome: self.outcome.clone(),
            since: self
                .since
                .map(|since| Timestamp::from_unix_micros(since.saturating_mul(1_000_000))),
        }
    }
}

/// A line that is no record does not hide those after it.
fn print_line(
    line: Result<Line, ReadError>,
    filter: &Filter,
    show: impl Fn(&Line) -> String,
) -> anyhow::Result<()> {
    match line {
        Ok(line) if filter.matches(&line.record) => output::print(&show(&line)),
        Ok(_) => Ok(()),
        Err(error @ ReadError::NotARecord { .. }) => {
            output::note(&error.to_string());
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// One record as a line for people.
pub(super) fn describe(record: &Record, style: Style) -> String {
    let entry = &record.entry;
    let time = record.time.to_string().replace('T', " ");
    let name = format!("{:8}", entry.event);
    let name = match entry.event.as_ref() {
        event::USE => style.green(&name),
        event::DENIED => style.red(&name),
        event::IGNORED | event::SCRUBBED => style.yellow(&name),
        event::RESULT => style.dim(&name),
        _ => style.cyan(&name),
    };
    let mut parts = vec![style.dim(time.get(..19).unwrap_or(&time)), name];
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
        (None, Some(outcome::CLIENT_GONE)) => format!("-> the client left{took}"),
        (None, Some(outcome::FAILED)) => format!("-> failed{took}"),
        _ => return None,
    };
    Some(text)
}

/// `(action of client for principal, run)`
fn who(entry: &Entry) -> String {
    let mut text = entry.action.clone().unwrap_or_default();
    let mut add = |prefix: &str, value: &Option<String>| {
        if let Some(value) = value {
            let space = if text.is_empty() { "" } else { " " };
            text.push_str(&format!("{space}{prefix}{value}"));
        }
    };
    add("run ", &entry.run);
    add("by ", &entry.client);
    add("for ", &entry.principal);
    match text.is_empty() {
        true => text,
        false => format!("({})", printable(&text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::chain::LineHash;

    const PLAIN: Style = Style::plain();

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn line(entry: Entry) -> String {
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
            locations: vec!["path".to_owned()],
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
    fn an_unusual_port_is_shown() {
        let entry = |destination| Entry {
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
        assert!(gone.ends_with("-> the client left in 12 ms"), "{gone}");
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
