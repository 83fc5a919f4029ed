//! Credentials that clients ask for: what they need, and never a value.

use serde::{Deserialize, Serialize};

use crate::policy::grant::HostPattern;
use crate::policy::location::LocationRule;
use crate::substitution::slug::Slug;
use crate::vault::name::Principal;
use crate::vault::readable::deceives;

/// Most requests of one client that are open.
pub const MOST_OPEN: usize = 5;
/// Most requests of a store.
pub const MOST_REQUESTS: usize = 1_000;
/// How long a request is kept, in seconds.
pub const KEPT: i64 = 7 * 24 * 60 * 60;
/// Longest reason, in characters.
pub const LONGEST_REASON: usize = 300;

/// A credential that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// Who would own it: whom the client acts for.
    pub owner: Principal,
    /// The client that asks.
    pub client: String,
    /// The slug.
    #[serde(with = "crate::vault::slug_text")]
    pub slug: Slug,
    /// Where it is needed.
    pub host: HostPattern,
    /// In which place of a request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<LocationRule>,
    /// Why, in the client's words.
    pub reason: String,
    /// When it was asked for, unix seconds.
    pub asked: i64,
    /// Until when it is kept.
    pub until: i64,
    /// Whether the owner said no.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_declined: bool,
    /// Whether the owner saved it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_saved: bool,
}

/// What became of a request for a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskedFor {
    /// It waits under this number.
    Open(i64),
    /// The owner said no.
    Declined,
    /// The client asks for too much already.
    TooMany,
}

impl KeyRequest {
    /// Whether it waits for the owner at `now` (unix seconds).
    pub fn is_open(&self, now: i64) -> bool {
        !self.is_declined && !self.is_saved && now < self.until
    }

    /// `open`, `declined` or `saved`.
    pub fn state(&self) -> &'static str {
        match (self.is_saved, self.is_declined) {
            (true, _) => "saved",
            (false, true) => "declined",
            (false, false) => "open",
        }
    }

    /// Whether it asks for the same, and what was asked for was not saved: that may be gone again.
    pub fn is_same(&self, other: &Self) -> bool {
        !self.is_saved
            && (&self.client, &self.owner, &self.slug, &self.host)
                == (&other.client, &other.owner, &other.slug, &other.host)
    }
}

/// A reason as it is kept: short, and without characters that a terminal would act on or that make it look
/// like another one.
pub fn readable_reason(text: &str) -> String {
    let plain = text.chars().map(|c| if deceives(c) { ' ' } else { c });
    plain.take(LONGEST_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_short_and_plain() {
        let hostile = format!("\x1b[2J<b>\u{202e}{}", "é".repeat(1000));
        let kept = readable_reason(&hostile);
        assert_eq!(kept.chars().count(), LONGEST_REASON);
        assert!(!kept.contains(char::is_control) && kept.starts_with(" [2J<b> é"));
    }
}
