//! The operator's floor: what holds for every credential, whatever its owner allows.
//!
//! It is in the configuration, which nobody can change through the store, the API or the page. It is
//! checked when something is changed, so that the mistake is said, and again at each use, so that what
//! was allowed before it was configured does not go around it.

use super::destination::Destination;
use super::grant::{Grant, HostPattern};

/// A limit that every credential must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequiredLimit {
    /// Some methods.
    Methods,
    /// Some paths.
    Paths,
    /// Some actions.
    Actions,
    /// An expiry.
    Expires,
}

/// Hosts that are left to some owners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerHost {
    /// The owner, or `*` for everyone.
    pub owner: String,
    /// Where that owner's credentials may go.
    pub host: HostPattern,
}

/// What holds for every credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Limits that every credential must have.
    pub require: Vec<RequiredLimit>,
    /// Longest time for which a value may be used after it was saved, in seconds.
    pub max_lifetime: Option<i64>,
    /// Whether a credential may be shared with everyone.
    pub share_with_everyone: bool,
    /// Whether `*.example.com` may be named as a host.
    pub wildcard_hosts: bool,
    /// Where credentials of an owner may go. An owner whom no entry names, and no `*`, is not
    /// limited.
    pub owner_hosts: Vec<OwnerHost>,
}

impl Default for Floor {
    /// No floor.
    fn default() -> Self {
        Self {
            require: Vec::new(),
            max_lifetime: None,
            share_with_everyone: true,
            wildcard_hosts: true,
            owner_hosts: Vec::new(),
        }
    }
}

/// What a credential lacks, or has too much of. Names the key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FloorViolation {
    /// A limit is missing.
    #[error("the operator demands limits that this credential does not have: give it {0}")]
    Missing(&'static str),
    /// It may be used for too long.
    #[error(
        "the value is older than the operator allows (policy.max_lifetime); rotate the credential"
    )]
    Lifetime,
    /// It would expire too late.
    #[error(
        "the operator lets no value be used for so long after it was saved (policy.max_lifetime); \
         choose an earlier expiry"
    )]
    Expiry,
    /// It names a pattern of hosts.
    #[error("the operator allows exact hosts only (policy.wildcard_hosts)")]
    WildcardHost,
    /// Its owner may not use that host.
    #[error(
        "the operator does not let this owner's credentials go to this host (policy.owner_hosts)"
    )]
    OwnerHost,
    /// It is shared with everyone.
    #[error("the operator does not allow sharing with everyone (policy.share_with_everyone)")]
    Everyone,
}

impl Floor {
    /// Whether there is none. Then no request pays for it.
    pub fn is_absent(&self) -> bool {
        *self == Self::default()
    }

    /// Checks limits that are to be saved.
    pub fn check_grant(&self, owner: &str, grant: &Grant) -> Result<(), FloorViolation> {
        self.check_required(grant)?;
        if !self.wildcard_hosts && grant.hosts.iter().any(HostPattern::is_wildcard) {
            return Err(FloorViolation::WildcardHost);
        }
        if let Some(allowed) = self.hosts_of(owner) {
            let is_allowed = |host: &HostPattern| allowed.iter().any(|own| own.includes(host));
            if !grant.hosts.iter().all(is_allowed) {
                return Err(FloorViolation::OwnerHost);
            }
        }
        Ok(())
    }

    /// Checks one use at `now` of a credential whose value was saved at `rotated` (unix seconds).
    pub fn check_use(
        &self,
        owner: &str,
        grant: &Grant,
        rotated: i64,
        destination: &Destination,
        now: i64,
    ) -> Result<(), FloorViolation> {
        self.check_required(grant)?;
        self.check_age(rotated, now)?;
        let exact = |host: &HostPattern| !host.is_wildcard() && host.matches(destination);
        if !self.wildcard_hosts && !grant.hosts.iter().any(exact) {
            return Err(FloorViolation::WildcardHost);
        }
        match self.hosts_of(owner) {
            Some(hosts) if !hosts.iter().any(|host| host.matches(destination)) => {
                Err(FloorViolation::OwnerHost)
            }
            _ => Ok(()),
        }
    }

    /// Checks an expiry that is to be saved, of a value that was saved at `rotated`.
    pub fn check_expiry(&self, expires: Option<i64>, rotated: i64) -> Result<(), FloorViolation> {
        let last = self
            .max_lifetime
            .map(|longest| rotated.saturating_add(longest));
        match expires.zip(last) {
            Some((expires, last)) if expires > last => Err(FloorViolation::Expiry),
            _ => Ok(()),
        }
    }

    /// Checks at `now` whether a value that was saved at `rotated` may still be used.
    pub fn check_age(&self, rotated: i64, now: i64) -> Result<(), FloorViolation> {
        let is_over = |longest: i64| now > rotated.saturating_add(longest);
        if self.max_lifetime.is_some_and(is_over) {
            return Err(FloorViolation::Lifetime);
        }
        Ok(())
    }

    fn check_required(&self, grant: &Grant) -> Result<(), FloorViolation> {
        let any = |names: &[String]| names.is_empty() || names.iter().any(|name| name == "*");
        for required in &self.require {
            let (missing, option) = match required {
                RequiredLimit::Methods => (any(&grant.methods), "--method"),
                RequiredLimit::Paths => (any_path(grant), "--path"),
                RequiredLimit::Actions => (any(&grant.actions), "--action"),
                RequiredLimit::Expires => (grant.expires.is_none(), "--expires"),
            };
            if missing {
                return Err(FloorViolation::Missing(option));
            }
        }
        Ok(())
    }

    /// The hosts to which an owner's credentials may go; `None` without a limit.
    fn hosts_of(&self, owner: &str) -> Option<Vec<&HostPattern>> {
        let named: Vec<&HostPattern> = self
            .owner_hosts
            .iter()
            .filter(|entry| entry.owner == owner || entry.owner == "*")
            .map(|entry| &entry.host)
            .collect();
        (!named.is_empty()).then_some(named)
    }
}

/// Whether the limit on paths limits nothing.
fn any_path(grant: &Grant) -> bool {
    grant.paths.is_empty() || grant.paths.iter().any(|path| path.to_string() == "/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::destination::Scheme;

    fn grant(hosts: &[&str]) -> Grant {
        Grant::for_hosts(hosts.iter().map(|host| host.parse().unwrap()).collect())
    }

    fn to(host: &str) -> Destination {
        Destination::from_authority(Scheme::Https, host).unwrap()
    }

    fn owner_host(owner: &str, host: &str) -> OwnerHost {
        OwnerHost {
            owner: owner.to_owned(),
            host: host.parse().unwrap(),
        }
    }

    #[test]
    fn without_a_floor_everything_is_the_owners_decision() {
        let floor = Floor::default();
        assert!(floor.is_absent());
        let grant = grant(&["*.example.com"]);
        assert_eq!(floor.check_grant("alice", &grant), Ok(()));
        let used = floor.check_use("alice", &grant, 0, &to("a.example.com"), i64::MAX);
        assert_eq!(used, Ok(()));
    }

    #[test]
    fn demanded_limits_are_missed_when_saved_and_when_used() {
        let floor = Floor {
            require: vec![RequiredLimit::Methods, RequiredLimit::Paths],
            ..Floor::default()
        };
        let mut limited = grant(&["a.example.com"]);
        let missing = |option| Err(FloorViolation::Missing(option));
        let both = |grant: &Grant, expected| {
            assert_eq!(floor.check_grant("alice", grant), expected);
            let used = floor.check_use("alice", grant, 0, &to("a.example.com"), 0);
            assert_eq!(used, expected);
        };
        both(&limited, missing("--method"));
        limited.methods = vec!["*".to_owned()];
        both(&limited, missing("--method"));
        limited.methods = vec!["GET".to_owned()];
        both(&limited, missing("--path"));
        limited.paths = vec!["/".parse().unwrap()];
        both(&limited, missing("--path"));
        limited.paths = vec!["/v1".parse().unwrap()];
        both(&limited, Ok(()));
    }

    #[test]
    fn a_value_is_usable_for_so_long_after_it_was_saved() {
        let floor = Floor {
            max_lifetime: Some(100),
            ..Floor::default()
        };
        let limited = grant(&["a.example.com"]);
        let used =
            |rotated, now| floor.check_use("x", &limited, rotated, &to("a.example.com"), now);
        assert_eq!(used(0, 100), Ok(()));
        assert_eq!(used(0, 101), Err(FloorViolation::Lifetime));
        assert_eq!(used(101, 101), Ok(()));
        let expires = |expires| floor.check_expiry(expires, 1000);
        assert_eq!((expires(None), expires(Some(1100))), (Ok(()), Ok(())));
        assert_eq!(expires(Some(1101)), Err(FloorViolation::Expiry));
        let none = Floor::default();
        assert_eq!(none.check_expiry(Some(i64::MAX), 0), Ok(()));
    }

    #[test]
    fn patterns_and_hosts_of_others_are_refused() {
        let exact_only = Floor {
            wildcard_hosts: false,
            ..Floor::default()
        };
        let both = grant(&["*.example.com", "a.example.com"]);
        assert_eq!(
            exact_only.check_grant("x", &both),
            Err(FloorViolation::WildcardHost)
        );
        let used = |host| exact_only.check_use("x", &both, 0, &to(host), 0);
        assert_eq!(used("a.example.com"), Ok(()));
        assert_eq!(used("b.example.com"), Err(FloorViolation::WildcardHost));

        let divided = Floor {
            owner_hosts: vec![
                owner_host("alice", "a.example.com"),
                owner_host("*", "*.shared.example"),
            ],
            ..Floor::default()
        };
        let a = grant(&["a.example.com"]);
        assert_eq!(divided.check_grant("alice", &a), Ok(()));
        assert_eq!(
            divided.check_grant("bob", &a),
            Err(FloorViolation::OwnerHost)
        );
        assert_eq!(
            divided.check_use("bob", &a, 0, &to("a.example.com"), 0),
            Err(FloorViolation::OwnerHost)
        );
        assert_eq!(
            divided.check_grant("bob", &grant(&["x.shared.example"])),
            Ok(())
        );
    }
}
