//! Where a client may go: rules about hosts, methods, paths and actions.
//!
//! Of the rules that match a request, those count whose host is named most exactly: `api.example.com`
//! before `*.example.com` before a rule for every host. Among them the strictest counts. Where no rule
//! matches, the default does. So `deny` for every host and `allow` for a few is a list of what is open,
//! and `allow` for `*.example.com` with `deny` for `a.example.com` is an exception to it. The operator's
//! `egress.deny` stands above all of this.
//!
//! A request that can be read in two ways is matched by a rule that forbids, and not by one that
//! permits.

use std::cmp::Reverse;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::decide::{self, Denial};
use super::destination::Destination;
use super::grant::{HostPattern, PathPrefix};

/// What becomes of a request. In the order of strictness.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Stance {
    /// It is let through.
    #[default]
    Allow,
    /// It is let through, and the first one to a host is on record.
    Observe,
    /// It is refused.
    Deny,
}

impl Stance {
    /// The name used in commands, configuration and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Stance::Allow => "allow",
            Stance::Observe => "observe",
            Stance::Deny => "deny",
        }
    }
}

/// A text that names no stance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a rule is allow, observe or deny")]
pub struct InvalidStance;

impl FromStr for Stance {
    type Err = InvalidStance;

    fn from_str(text: &str) -> Result<Self, InvalidStance> {
        let all = [Self::Allow, Self::Observe, Self::Deny];
        let found = all.into_iter().find(|stance| stance.as_str() == text);
        found.ok_or(InvalidStance)
    }
}

/// One rule. A request must satisfy all parts to be matched by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressRule {
    /// What becomes of a request that it matches.
    pub stance: Stance,
    /// The hosts. Empty is every host, with any scheme and port.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Methods. Empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Prefixes of paths. Empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPrefix>,
    /// Names of actions. Empty is any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
}

/// What of a request rules look at, beside its destination.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The method as sent.
    pub method: &'a str,
    /// The path as sent, without query string.
    pub path: &'a str,
    /// The action that asks.
    pub action: &'a str,
}

impl EgressRule {
    /// A rule for hosts and nothing else.
    pub fn for_hosts(stance: Stance, hosts: Vec<HostPattern>) -> Self {
        Self {
            stance,
            hosts,
            methods: Vec::new(),
            paths: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Whether it looks at more than the host, which is all that is known of a CONNECT.
    pub fn is_narrowed(&self) -> bool {
        !(self.methods.is_empty() && self.paths.is_empty() && self.actions.is_empty())
    }

    /// Whether it matches a request for one of its hosts.
    fn matches(&self, asked: &Asked<'_>) -> bool {
        let forbids = self.stance == Stance::Deny;
        let is_method = |method: &String| match forbids {
            // Servers that take `delete` for `DELETE` exist.
            true => method.eq_ignore_ascii_case(asked.method),
            false => method == asked.method,
        };
        let any = |names: &[String]| names.is_empty() || names.iter().any(|name| name == "*");
        let action = |action: &String| action == asked.action;
        let path = match decide::check_path(&self.paths, asked.path) {
            Ok(()) => true,
            Err(Denial::AmbiguousPath) => forbids,
            Err(_) => false,
        };
        path && (any(&self.methods) || self.methods.iter().any(is_method))
            && (any(&self.actions) || self.actions.iter().any(action))
    }

    /// Whether a rule for the same people that was there before decides all that `later` would, so
    /// that `later` never does anything.
    pub fn overrules(&self, later: &Self) -> bool {
        self.overrules_at(&later.hosts, later)
    }

    /// As [`EgressRule::overrules`], if `later` were about these hosts.
    pub fn overrules_at(&self, at: &[HostPattern], later: &Self) -> bool {
        let any = |names: &[String]| names.is_empty() || names.iter().any(|name| name == "*");
        let names = |own: &[String], other: &[String]| {
            any(own) || !any(other) && other.iter().all(|name| own.contains(name))
        };
        let hosts = match (self.hosts.is_empty(), at.is_empty()) {
            (false, false) => at.iter().all(|host| self.hosts.contains(host)),
            (own, other) => own == other,
        };
        let covers = |path: &PathPrefix| self.paths.iter().any(|own| own.includes(path));
        let paths =
            self.paths.is_empty() || !later.paths.is_empty() && later.paths.iter().all(covers);
        self.stance >= later.stance
            && hosts
            && paths
            && names(&self.methods, &later.methods)
            && names(&self.actions, &later.actions)
    }
}

/// How exactly a rule names a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Every host.
    Any,
    /// One label before a domain.
    Wildcard,
    /// This host.
    Exact,
}

/// What decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// `egress.default`.
    Default,
    /// `egress.allow` or `egress.deny`.
    Operator,
    /// The rule of this number.
    Rule(i64),
}

/// What becomes of a request, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What becomes of it.
    pub stance: Stance,
    /// What decided.
    pub by: DecidedBy,
}

/// A rule that concerns a caller and a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applicable {
    /// How exactly it names the destination.
    pub reach: Reach,
    /// Where it stands.
    pub by: DecidedBy,
    /// The rule.
    pub rule: std::sync::Arc<EgressRule>,
}

/// All that is to be asked about requests of one caller to one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressRules {
    /// The operator denies the destination.
    is_forbidden: bool,
    /// The most exact first.
    rules: Vec<Applicable>,
    default: Stance,
}

impl EgressRules {
    /// From the rules that concern a caller and a destination.
    pub fn new(is_forbidden: bool, mut rules: Vec<Applicable>, default: Stance) -> Self {
        rules.sort_by_key(|applicable| Reverse(applicable.reach));
        Self {
            is_forbidden,
            rules,
            default,
        }
    }

    /// Whether every request is let through and nothing is recorded of it.
    pub fn is_open(&self) -> bool {
        let allows = |applicable: &Applicable| applicable.rule.stance == Stance::Allow;
        !self.is_forbidden && self.default == Stance::Allow && self.rules.iter().all(allows)
    }

    /// Decides about a request.
    pub fn decide(&self, asked: &Asked<'_>) -> Decision {
        self.decide_by(|rule| rule.matches(asked))
    }

    /// Decides about a tunnel that is not looked into. What a rule says about methods or paths cannot
    /// be held there: such a rule does not open it, and closes it.
    pub fn decide_blind(&self) -> Decision {
        self.decide_by(|rule| !rule.is_narrowed() || rule.stance == Stance::Deny)
    }

    /// Decides about a CONNECT: whether any request that may follow can be let through. Rules about
    /// methods, paths and actions are left to those requests.
    pub fn decide_connect(&self) -> Decision {
        if self.is_forbidden {
            return FORBIDDEN;
        }
        for level in self.levels() {
            let closes = |a: &&Applicable| a.rule.stance == Stance::Deny && !a.rule.is_narrowed();
            if let Some(closed) = level.iter().find(closes) {
                return closed.decision();
            }
            if let Some(open) = level.iter().find(|a| a.rule.stance != Stance::Deny) {
                return open.decision();
            }
        }
        self.otherwise()
    }

    fn decide_by(&self, matches: impl Fn(&EgressRule) -> bool) -> Decision {
        if self.is_forbidden {
            return FORBIDDEN;
        }
        for level in self.levels() {
            let matching = level.iter().filter(|applicable| matches(&applicable.rule));
            if let Some(strictest) = matching.max_by_key(|applicable| applicable.rule.stance) {
                return strictest.decision();
            }
        }
        self.otherwise()
    }

    /// The rules that name the host equally exactly, the most exact first.
    fn levels(&self) -> impl Iterator<Item = &[Applicable]> {
        self.rules.chunk_by(|one, other| one.reach == other.reach)
    }

    fn otherwise(&self) -> Decision {
        Decision {
            stance: self.default,
            by: DecidedBy::Default,
        }
    }
}

const FORBIDDEN: Decision = Decision {
    stance: Stance::Deny,
    by: DecidedBy::Operator,
};

impl Applicable {
    fn decision(&self) -> Decision {
        Decision {
            stance: self.rule.stance,
            by: self.by,
        }
    }
}

/// The operator's part, which nobody can change through the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorEgress {
    /// What becomes of a request that no rule matches.
    pub default: Stance,
    /// Hosts that are open to everyone.
    pub allow: Vec<HostPattern>,
    /// Hosts that are closed to everyone, whatever a rule says.
    pub deny: Vec<HostPattern>,
}

impl OperatorEgress {
    /// Whether nothing is limited or recorded by it.
    pub fn is_open(&self) -> bool {
        self.default == Stance::Allow && self.deny.is_empty()
    }

    /// Its part of what is to be asked about a destination, with the `rules` of the store.
    pub fn with(&self, destination: &Destination, mut rules: Vec<Applicable>) -> EgressRules {
        let is_forbidden = self.deny.iter().any(|host| host.matches(destination));
        let opened = self.allow.iter().filter(|host| host.matches(destination));
        rules.extend(opened.map(|host| Applicable {
            reach: reach(host),
            by: DecidedBy::Operator,
            rule: EgressRule::for_hosts(Stance::Allow, vec![host.clone()]).into(),
        }));
        EgressRules::new(is_forbidden, rules, self.default)
    }
}

/// How exactly a pattern names a host.
pub(super) fn reach(host: &HostPattern) -> Reach {
    if host.is_wildcard() {
        Reach::Wildcard
    } else {
        Reach::Exact
    }
}

#[cfg(test)]
mod tests;
