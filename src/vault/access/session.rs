//! Sessions: a browser that was signed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vault::name::Principal;

/// How long ago somebody must have proved to be the user, for what changes who may do what.
pub const FRESH: Duration = Duration::from_secs(5 * 60);

/// How exactly it is known when a session was last used, in seconds: each note is a write.
pub const SEEN_INTERVAL: i64 = 60;

/// How somebody signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// With a password.
    Password,
    /// With a one-time link.
    Link,
    /// At the identity provider.
    OpenId,
}

impl Method {
    /// The name used in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Password => "password",
            Method::Link => "link",
            Method::OpenId => "openid",
        }
    }
}

/// A browser that was signed in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Who signed in.
    pub user: Principal,
    /// How.
    pub method: Method,
    /// When it began, unix microseconds.
    pub began: i64,
    /// When the user last proved to be the user, unix seconds.
    pub proved: i64,
    /// When it was last used, unix seconds, to within [`SEEN_INTERVAL`].
    pub seen: i64,
    /// When it ends, however much it is used, unix seconds.
    pub ends: i64,
}

/// How long sessions last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// From its beginning.
    pub lifetime: Duration,
    /// Without a request.
    pub idle: Duration,
}

impl Session {
    /// A session that begins at `began` (unix microseconds).
    pub fn new(user: &Principal, method: Method, began: i64, limits: SessionLimits) -> Self {
        let now = began / 1_000_000;
        Self {
            user: user.clone(),
            method,
            began,
            proved: now,
            seen: now,
            ends: after(now, limits.lifetime),
        }
    }

    /// Whether it can be used at `now` (unix seconds).
    pub fn is_usable(&self, now: i64, limits: SessionLimits) -> bool {
        now < self.ends
            && now < after(self.began / 1_000_000, limits.lifetime)
            && now < after(self.seen, limits.idle)
    }

    /// Whether the user proved to be the user within [`FRESH`].
    pub fn is_fresh(&self, now: i64) -> bool {
        now < after(self.proved, FRESH)
    }
}

fn after(at: i64, time: Duration) -> i64 {
    at.saturating_add_unsigned(time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_age_and_by_silence_and_stays_fresh_for_five_minutes() {
        let limits = SessionLimits {
            lifetime: Duration::from_secs(1000),
            idle: Duration::from_secs(100),
        };
        let alice = Principal::parse("alice").unwrap();
        let mut session = Session::new(&alice, Method::Password, 5_000_000_000, limits);
        assert!(session.is_usable(5099, limits) && !session.is_usable(5100, limits));
        session.seen = 5950;
        assert!(session.is_usable(5999, limits) && !session.is_usable(6000, limits));
        // A shorter lifetime holds for sessions that are there already.
        let shorter = SessionLimits {
            lifetime: Duration::from_secs(10),
            ..limits
        };
        assert!(!session.is_usable(5950, shorter));
        assert!(session.is_fresh(5299) && !session.is_fresh(5300));
    }
}
