//! Reads `[[destination]]` rules: what differs from one upstream to the next.

use super::entry::Entry;
use super::key::{DESTINATION, DESTINATION_KEYS};
use super::problem::{Origin, Problem};
use super::raw::{self, Setting, Value};
use super::treatment::{DestinationRule, Exposed, OwnKeys, Range, ScanPlace, Unresolved};
use super::units::{FromValue, choice};
use crate::policy::grant::HostPattern;
use crate::policy::requirement::RequestPattern;

/// The rules that come with the program: model APIs, whose bodies quote conversations.
const PRESETS: &str = include_str!("../../config/presets.toml");

/// The shipped rules.
pub(super) fn presets(problems: &mut Vec<Problem>) -> Vec<DestinationRule> {
    let mut settings = raw::from_file("presets.toml".as_ref(), PRESETS, problems);
    match settings.remove(DESTINATION) {
        Some(setting) => {
            let origin = Origin::Preset;
            rules(&Setting { origin, ..setting }, problems)
        }
        None => Vec::new(),
    }
}

/// Reads the tables of one layer. A faulty entry is reported and left out.
pub(super) fn rules(setting: &Setting, problems: &mut Vec<Problem>) -> Vec<DestinationRule> {
    Entry::all(DESTINATION, DESTINATION_KEYS, setting, problems, rule)
}

fn rule(mut entry: Entry<'_>) -> Option<DestinationRule> {
    let hosts = entry.list("hosts", host).unwrap_or_default();
    let rule = DestinationRule {
        hosts,
        scan: entry.list("scan", place),
        unresolved: entry.field("unresolved", |value| {
            choice(
                value,
                &[
                    ("reject", Unresolved::Reject),
                    ("ignore", Unresolved::Ignore),
                ],
            )
        }),
        range: entry.field("range", |value| {
            choice(value, &[("strip", Range::Strip), ("allow", Range::Allow)])
        }),
        exposed: entry.field("exposed", |value| {
            choice(
                value,
                &[("reject", Exposed::Reject), ("allow", Exposed::Allow)],
            )
        }),
        require: entry.field("require", bool::from_value),
        require_except: entry
            .list("require_except", request_pattern)
            .map(Into::into),
        own_keys: entry.field("own_keys", own_keys),
        approval_fields: approval_fields(&mut entry),
    };
    if !entry.has("hosts") {
        let message = "name the hosts it is for, such as hosts = [\"api.example.com\"]";
        entry.complain("hosts", entry.table.line, message.to_owned());
    }
    (!rule.hosts.is_empty()).then_some(rule)
}

/// Most fields that are shown, and the longest name of one.
const MOST_FIELDS: usize = 8;
const LONGEST_FIELD: usize = 32;

fn approval_fields(entry: &mut Entry<'_>) -> Option<std::sync::Arc<[String]>> {
    const NAME: &str = "approval_fields";
    let fields = entry.list(NAME, |value| {
        let text = String::from_value(value)?;
        let fits = (1..=LONGEST_FIELD).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then_some(text).ok_or_else(|| {
            format!("expected the name of a field or a JSON pointer, of at most {LONGEST_FIELD} characters")
        })
    })?;
    if fields.len() > MOST_FIELDS {
        let message = format!("at most {MOST_FIELDS} fields are shown");
        entry.complain(NAME, entry.table.line, message);
    }
    Some(fields.into())
}

fn host(value: &Value) -> Result<HostPattern, String> {
    let text = String::from_value(value)?;
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn request_pattern(value: &Value) -> Result<RequestPattern, String> {
    let text = String::from_value(value)?;
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

/// What a request does that brings a key which Egret does not hold.
pub(super) fn own_keys(value: &Value) -> Result<OwnKeys, String> {
    choice(
        value,
        &[
            ("off", OwnKeys::Off),
            ("observe", OwnKeys::Observe),
            ("refuse", OwnKeys::Refuse),
        ],
    )
}

fn place(value: &Value) -> Result<ScanPlace, String> {
    choice(
        value,
        &[
            ("header", ScanPlace::Header),
            ("query", ScanPlace::Query),
            ("path", ScanPlace::Path),
            ("body", ScanPlace::Body),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::super::treatment::treatment;
    use super::*;
    use crate::policy::destination::{Destination, Scheme};

    fn read(text: &str) -> (Vec<DestinationRule>, Vec<String>) {
        let mut problems = Vec::new();
        let settings = raw::from_file("egret.toml".as_ref(), text, &mut problems);
        let found = settings
            .get("destination")
            .map(|setting| rules(setting, &mut problems));
        let problems = problems.iter().map(Problem::to_string).collect();
        (found.unwrap_or_default(), problems)
    }

    fn destination(authority: &str) -> Destination {
        Destination::from_authority(Scheme::Https, authority).expect("a valid authority")
    }

    #[test]
    fn presets_are_valid_and_keep_bodies_of_model_apis_unscanned() {
        let mut problems = Vec::new();
        let rules = presets(&mut problems);
        assert_eq!(problems, []);
        for host in [
            "api.openai.com",
            "api.anthropic.com",
            "generativelanguage.googleapis.com",
        ] {
            let treatment = treatment(&rules, &destination(host), OwnKeys::Off);
            assert_eq!(
                *treatment.scan,
                [ScanPlace::Header, ScanPlace::Query],
                "{host}"
            );
        }
        let other = treatment(&rules, &destination("api.github.com"), OwnKeys::Off);
        assert_eq!(other.scan, ScanPlace::ALL);
    }

    #[test]
    fn each_property_comes_from_the_first_rule_that_states_it() {
        let (mut rules, problems) = read(
            "[[destination]]\nhosts = [\"api.openai.com\"]\nrange = \"allow\"\n\
             [[destination]]\nhosts = [\"api.openai.com\"]\nrange = \"strip\"\nunresolved = \"ignore\"\n",
        );
        assert_eq!(problems, [] as [&str; 0]);
        rules.extend(presets(&mut Vec::new()));
        let treatment = treatment(&rules, &destination("api.openai.com"), OwnKeys::Off);
        assert_eq!(treatment.range, Range::Allow);
        assert_eq!(treatment.unresolved, Unresolved::Ignore);
        assert_eq!(*treatment.scan, [ScanPlace::Header, ScanPlace::Query]);
    }

    #[test]
    fn every_fault_of_every_table_is_reported_with_its_line() {
        let (_, problems) = read(
            "[[destination]]\nhost = [\"a.example\"]\n\
             [[destination]]\nhosts = [\"a.example\"]\nscan = [\"heder\"]\nrange = \"keep\"\n",
        );
        assert_eq!(
            problems,
            [
                "egret.toml:2: destination[0].host: unknown key, did you mean `hosts`?",
                "egret.toml:1: destination[0].hosts: name the hosts it is for, such as hosts = [\"api.example.com\"]",
                "egret.toml:5: destination[1].scan: expected \"header\", \"query\", \"path\" or \"body\", found \"heder\"",
                "egret.toml:6: destination[1].range: expected \"strip\" or \"allow\", found \"keep\"",
            ]
        );
    }

    #[test]
    fn a_single_bracket_is_explained() {
        let (_, problems) = read("[destination]\nhosts = []\n");
        assert!(problems[0].contains("two brackets"), "{problems:?}");
    }
}
