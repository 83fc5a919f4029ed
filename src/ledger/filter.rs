//! Which records someone wants to see.

use super::record::{Entry, Record, Timestamp};

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
}

impl Filter {
    /// Whether the record is wanted.
    pub fn matches(&self, record: &Record) -> bool {
        let entry: &Entry = &record.entry;
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        self.since.is_none_or(|since| record.time >= since)
            && is(&self.slug, entry.slug.as_deref())
            && is(&self.action, entry.action.as_deref())
            && is(&self.run, entry.run.as_deref())
            && is(&self.principal, entry.principal.as_deref())
            && is(&self.client, entry.client.as_deref())
            && is(&self.outcome, entry.outcome.as_deref())
            && self
                .event
                .as_deref()
                .is_none_or(|wanted| is_event(&entry.event, wanted))
            && self.destination.as_deref().is_none_or(|wanted| {
                entry
                    .destination
                    .as_deref()
                    .is_some_and(|value| is_destination(value, wanted))
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
    use crate::ledger::chain::LineHash;

    fn record() -> Record {
        let text = |value: &str| Some(value.to_owned());
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
        let text = |value: &str| Some(value.to_owned());
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
            assert!(filter.matches(&record()), "{filter:?}");
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
                destination: text("github.com"),
                ..d()
            },
            Filter {
                destination: text("api.github.com:80"),
                ..d()
            },
        ];
        for filter in failing {
            assert!(!filter.matches(&record()), "{filter:?}");
        }
        let nothing_known = Record {
            entry: Entry::new("use"),
            ..record()
        };
        assert!(
            !Filter {
                slug: text("gh"),
                ..d()
            }
            .matches(&nothing_known)
        );
        assert!(
            !Filter {
                destination: text("x"),
                ..d()
            }
            .matches(&nothing_known)
        );
    }

    #[test]
    fn a_destination_filter_understands_ipv6() {
        for wanted in ["[2001:db8::1]", "[2001:db8::1]:8443"] {
            assert!(is_destination("https://[2001:db8::1]:8443", wanted));
        }
    }
}
