//! What a person filters recent usage for.

use crate::clock;
use crate::ledger::Timestamp;
use crate::ledger::usage::UsageFilter;
use crate::page::fields::Fields;
use crate::page::text;
use crate::page::when;
use crate::vault::Principal;

/// Days that are shown unless others are asked for.
const DAYS: i64 = 30;
const DAY: i64 = 86_400;

/// What a person filters for, as it was typed.
pub(super) struct Wanted {
    pub(super) action: String,
    pub(super) client: String,
    pub(super) user: String,
    pub(super) destination: String,
    pub(super) outcome: String,
    pub(super) version: String,
    pub(super) since: String,
    pub(super) until: String,
    before: Option<u64>,
}

impl Wanted {
    pub(super) fn of(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            action: text("action"),
            client: text("client"),
            user: text("user"),
            destination: text("destination"),
            outcome: text("outcome"),
            version: text("version"),
            since: text("since"),
            until: text("until"),
            before: fields.text("before").parse().ok(),
        }
    }

    /// The line before which the page begins.
    pub(super) fn before(&self) -> Option<u64> {
        self.before
    }

    /// Whether anything is filtered for.
    pub(super) fn is_filtered(&self) -> bool {
        let names = [
            &self.action,
            &self.client,
            &self.user,
            &self.destination,
            &self.outcome,
            &self.version,
            &self.since,
            &self.until,
        ];
        names.iter().any(|text| !text.is_empty())
    }

    /// The query string of the same filter with another time and page.
    pub(super) fn query(&self, since: &str, until: &str, before: &str) -> String {
        text::query(&[
            ("action", &self.action),
            ("client", &self.client),
            ("user", &self.user),
            ("destination", &self.destination),
            ("outcome", &self.outcome),
            ("version", &self.version),
            ("since", since),
            ("until", until),
            ("before", before),
        ])
    }

    /// The filter. Someone with whom the credential is shared sees uses of their own.
    pub(super) fn filter(&self, only: Option<&Principal>) -> UsageFilter {
        let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let (since, until) = self.span();
        let (outcome, refused) = match self.outcome.as_str() {
            "refused" => (None, Some(true)),
            "used" => (None, Some(false)),
            _ => (given(&self.outcome), None),
        };
        UsageFilter {
            action: given(&self.action),
            client: given(&self.client),
            principal: only.map(ToString::to_string).or_else(|| given(&self.user)),
            destination: given(&self.destination),
            outcome,
            version: self.version.parse().ok(),
            refused,
            since: Some(since),
            until: Some(until),
        }
    }

    /// The time that is asked for, in unix seconds. A day that ends it is part of it.
    pub(super) fn span(&self) -> (Timestamp, Timestamp) {
        let now = clock::unix_seconds();
        let until = when::absolute(&self.until).map(|until| match self.until.len() {
            10 => until + DAY,
            _ => until,
        });
        let until = until.unwrap_or(now + 1);
        let since = when::absolute(&self.since).unwrap_or(until - DAYS * DAY);
        let at = |unix: i64| Timestamp::from_unix_micros(unix.saturating_mul(1_000_000));
        (at(since.min(until - 1)), at(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_ends_the_time_is_part_of_it() {
        let fields = Fields::parse(b"since=2026-11-01&until=2026-11-02&outcome=refused");
        let asked = Wanted::of(&fields);
        let (since, until) = asked.span();
        assert_eq!(
            until.unix_micros() - since.unix_micros(),
            2 * DAY * 1_000_000
        );
        let filter = asked.filter(None);
        assert_eq!((filter.outcome, filter.refused), (None, Some(true)));
        assert!(asked.is_filtered());
        assert!(!Wanted::of(&Fields::parse(b"")).is_filtered());
    }

    #[test]
    fn a_user_cannot_ask_for_what_others_did() {
        let asked = Wanted::of(&Fields::parse(b"user=alice"));
        let bob = Principal::parse("bob").unwrap();
        assert_eq!(asked.filter(Some(&bob)).principal.as_deref(), Some("bob"));
        assert_eq!(asked.filter(None).principal.as_deref(), Some("alice"));
    }
}
