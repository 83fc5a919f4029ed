//! Which records someone wants to see.

use super::format::record_ref::RecordRef;
use super::format::text::Text;
use super::format::timestamp::Timestamp;

/// Which records are wanted; `None` is any. A record must satisfy all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The slug.
    pub slug: Option<String>,
    /// The action.
    pub action: Option<String>,
    /// The execution of the action.
    pub run: Option<String>,
    /// The principal that asked.
    pub principal: Option<String>,
    /// The client.
    pub client: Option<String>,
    /// The destination: `https://api.example.com:443`, `api.example.com:443` or
    /// `api.example.com`.
    pub destination: Option<String>,
    /// The event; `credential` covers `credential.created` and its like.
    pub event: Option<String>,
    /// The outcome.
    pub outcome: Option<String>,
    /// The first time wanted.
    pub since: Option<Timestamp>,
    /// The first time not wanted any more.
    pub until: Option<Timestamp>,
}

impl Filter {
    /// Whether the line is wanted.
    pub fn matches(&self, line: &RecordRef<'_>) -> bool {
        let is = |wanted: &Option<String>, value: &Option<Text<'_>>| {
            wanted
                .as_deref()
                .is_none_or(|wanted| value.as_deref() == Some(wanted))
        };
        is(&self.slug, &line.slug)
            && is(&self.action, &line.action)
            && is(&self.run, &line.run)
            && is(&self.principal, &line.principal)
            && is(&self.client, &line.client)
            && is(&self.outcome, &line.outcome)
            && self
                .event
                .as_deref()
                .is_none_or(|wanted| is_event(&line.event, wanted))
            && self.destination.as_deref().is_none_or(|wanted| {
                let value = line.destination.as_deref();
                value.is_some_and(|value| is_destination(value, wanted))
            })
            && self.is_in_time(line)
    }

    fn is_in_time(&self, line: &RecordRef<'_>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        line.time.parse().is_ok_and(|time: Timestamp| {
            self.since.is_none_or(|since| time >= since)
                && self.until.is_none_or(|until| time < until)
        })
    }
}

fn is_event(event: &str, wanted: &str) -> bool {
    event
        .strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn is_destination(destination: &str, wanted: &str) -> bool {
    let authority = destination
        .split_once("://")
        .map_or(destination, |(_, rest)| rest);
    let host = authority
        .rsplit_once(':')
        .map_or(authority, |(host, _)| host);
    [destination, authority, host]
        .iter()
        .any(|form| form.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::format::entry::Entry;
    use crate::ledger::format::line_hash::LineHash;
    use crate::ledger::format::record::Record;

    fn is_wanted(filter: &Filter, record: &Record) -> bool {
        let line = serde_json::to_string(record).unwrap();
        filter.matches(&RecordRef::parse(line.as_bytes()).unwrap())
    }

    fn record() -> Record {
        let text = |value: &'static str| Some(value.into());
        Record {
            seq: 1,
            time: Timestamp::from_unix_micros(1000),
            prev: LineHash::GENESIS,
            entry: Entry {
                slug: text("gh"),
                action: text("weekly-report"),
                run: text("run-1"),
                principal: text("alice"),
                client: text("laptop"),
                destination: text("https://api.github.com:443"),
                outcome: Some("used".into()),
                ..Entry::new("credential.created")
            },
        }
    }

    #[test]
    fn each_part_of_a_filter_must_fit() {
        let text = |value: &'static str| Some(value.into());
        let d = Filter::default;
        let time = |micros| Some(Timestamp::from_unix_micros(micros));
        let fitting = [
            d(),
            Filter {
                slug: text("gh"),
                action: text("weekly-report"),
                ..d()
            },
            Filter {
                run: text("run-1"),
                principal: text("alice"),
                ..d()
            },
            Filter {
                client: text("laptop"),
                outcome: text("used"),
                ..d()
            },
            Filter {
                event: text("credential.created"),
                since: time(1000),
                ..d()
            },
            Filter {
                event: text("credential"),
                since: time(999),
                until: time(1001),
                ..d()
            },
            Filter {
                destination: text("https://api.github.com:443"),
                ..d()
            },
            Filter {
                destination: text("api.github.com:443"),
                ..d()
            },
            Filter {
                destination: text("API.github.com"),
                ..d()
            },
        ];
        for filter in fitting {
            assert!(is_wanted(&filter, &record()), "{filter:?}");
        }
        let failing = [
            Filter {
                slug: text("gh2"),
                ..d()
            },
            Filter {
                slug: text("gh"),
                action: text("other"),
                ..d()
            },
            Filter {
                run: text("run-2"),
                ..d()
            },
            Filter {
                principal: text("bob"),
                ..d()
            },
            Filter {
                client: text("desktop"),
                ..d()
            },
            Filter {
                outcome: text("denied"),
                ..d()
            },
            Filter {
                event: text("cred"),
                ..d()
            },
            Filter {
                event: text("credential.created.x"),
                ..d()
            },
            Filter {
                since: time(1001),
                ..d()
            },
            Filter {
                until: time(1000),
                ..d()
            },
            Filter {
                destination: text("github.com"),
                ..d()
            },
            Filter {
                destination: text("api.github.com:80"),
                ..d()
            },
        ];
        for filter in failing {
            assert!(!is_wanted(&filter, &record()), "{filter:?}");
        }
        let nothing_known = Record {
            entry: Entry::new("use"),
            ..record()
        };
        let filter = Filter {
            slug: text("gh"),
            ..d()
        };
        assert!(!is_wanted(&filter, &nothing_known));
        let filter = Filter {
            destination: text("x"),
            ..d()
        };
        assert!(!is_wanted(&filter, &nothing_known));
    }

    #[test]
    fn a_destination_filter_understands_ipv6() {
        for wanted in ["[2001:db8::1]", "[2001:db8::1]:8443"] {
            assert!(is_destination("https://[2001:db8::1]:8443", wanted));
        }
    }
}
