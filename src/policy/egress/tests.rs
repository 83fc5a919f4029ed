//! The order of rules, and what a request that can be read in two ways meets.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::policy::destination::Scheme;
use crate::policy::egress_index::EgressIndex;

fn rule(stance: Stance, hosts: &[&str]) -> EgressRule {
    let hosts = hosts.iter().map(|host| host.parse().unwrap()).collect();
    EgressRule::for_hosts(stance, hosts)
}

fn to(authority: &str) -> Destination {
    Destination::from_authority(Scheme::Https, authority).unwrap()
}

/// The rules, numbered from 1, as they concern a destination.
fn at(rules: &[EgressRule], default: Stance, authority: &str) -> EgressRules {
    let mut index = EgressIndex::default();
    for (rule, number) in rules.iter().zip(1i64..) {
        index.add(&number, &Arc::new(rule.clone()));
    }
    let destination = to(authority);
    let applicable = index
        .at(&destination)
        .map(|(reach, number, rule)| Applicable {
            reach,
            by: DecidedBy::Rule(*number),
            rule: Arc::clone(rule),
        });
    let operator = OperatorEgress {
        default,
        ..OperatorEgress::default()
    };
    operator.with(&destination, applicable.collect())
}

fn asked<'a>(method: &'a str, path: &'a str) -> Asked<'a> {
    Asked {
        method,
        path,
        action: "report",
    }
}

const GET: Asked<'static> = Asked {
    method: "GET",
    path: "/",
    action: "report",
};

#[test]
fn the_most_exact_host_decides_and_among_equals_the_strictest() {
    use Stance::{Allow, Deny, Observe};
    let rules = [
        rule(Deny, &[]),
        rule(Allow, &["*.example.com"]),
        rule(Deny, &["b.example.com"]),
        rule(Allow, &["b.example.com"]),
        rule(Observe, &["c.example.com"]),
    ];
    let cases = [
        ("other.test", Deny, DecidedBy::Rule(1)),
        ("a.example.com", Allow, DecidedBy::Rule(2)),
        ("a.example.com:8443", Deny, DecidedBy::Rule(1)),
        ("b.example.com", Deny, DecidedBy::Rule(3)),
        ("c.example.com", Observe, DecidedBy::Rule(5)),
        ("x.a.example.com", Deny, DecidedBy::Rule(1)),
        ("example.com", Deny, DecidedBy::Rule(1)),
        ("10.0.0.1", Deny, DecidedBy::Rule(1)),
    ];
    for (authority, stance, by) in cases {
        let found = at(&rules, Allow, authority);
        let expected = Decision { stance, by };
        assert_eq!(found.decide(&GET), expected, "{authority}");
        assert_eq!(found.decide_connect(), expected, "{authority}");
        assert_eq!(found.decide_blind(), expected, "{authority}");
    }
    assert!(at(&[], Allow, "a.test").is_open());
    assert!(!at(&[], Observe, "a.test").is_open());
    assert!(!at(&rules, Allow, "a.test").is_open());
    assert_eq!(at(&[], Deny, "a.test").decide(&GET).by, DecidedBy::Default);
}

#[test]
fn a_rule_about_methods_or_paths_is_left_to_the_requests() {
    let narrowed = EgressRule {
        methods: vec!["GET".into()],
        paths: vec!["/repos".parse().unwrap()],
        ..rule(Stance::Allow, &["a.example"])
    };
    let found = at(std::slice::from_ref(&narrowed), Stance::Deny, "a.example");
    assert_eq!(found.decide_connect().stance, Stance::Allow);
    assert_eq!(found.decide_blind().stance, Stance::Deny);
    assert_eq!(
        found.decide(&asked("GET", "/repos/a")).stance,
        Stance::Allow
    );
    for (method, path) in [
        ("POST", "/repos"),
        ("get", "/repos"),
        ("GET", "/orgs"),
        ("GET", "/repos/%2e%2e/orgs"),
        ("GET", "*"),
    ] {
        let decision = found.decide(&asked(method, path));
        assert_eq!(decision.stance, Stance::Deny, "{method} {path}");
    }

    let denied = EgressRule {
        stance: Stance::Deny,
        ..narrowed
    };
    let found = at(&[denied], Stance::Allow, "a.example");
    assert_eq!(found.decide_connect().stance, Stance::Allow);
    assert_eq!(found.decide_blind().stance, Stance::Deny);
    assert_eq!(found.decide(&asked("GET", "/orgs")).stance, Stance::Allow);
    for (method, path) in [
        ("GET", "/repos"),
        ("get", "/repos"),
        ("GET", "/x/%2e%2e/repos"),
    ] {
        let decision = found.decide(&asked(method, path));
        assert_eq!(decision.stance, Stance::Deny, "{method} {path}");
    }
}

#[test]
fn the_operator_stands_above_the_rules() {
    let operator = OperatorEgress {
        default: Stance::Deny,
        allow: vec!["a.example".parse().unwrap()],
        deny: vec!["*.example.com".parse().unwrap()],
    };
    let allow = |authority: &str| Applicable {
        reach: Reach::Exact,
        by: DecidedBy::Rule(1),
        rule: rule(Stance::Allow, &[authority]).into(),
    };
    let closed = operator.with(&to("x.example.com"), vec![allow("x.example.com")]);
    assert_eq!(closed.decide(&GET), FORBIDDEN);
    assert_eq!(closed.decide_connect(), FORBIDDEN);
    assert_eq!(closed.decide_blind(), FORBIDDEN);
    let open = operator.with(&to("a.example"), Vec::new());
    assert_eq!(open.decide(&GET).stance, Stance::Allow);
    assert_eq!(open.decide(&GET).by, DecidedBy::Operator);
}

#[test]
fn a_rule_that_never_decides_is_recognised() {
    use Stance::{Allow, Deny};
    let all = rule(Deny, &["a.example", "b.example"]);
    assert!(all.overrules(&rule(Allow, &["a.example"])));
    assert!(all.overrules(&rule(Deny, &["a.example"])));
    assert!(!rule(Allow, &["a.example"]).overrules(&rule(Deny, &["a.example"])));
    // The more exact one decides.
    assert!(!rule(Deny, &["*.example.com"]).overrules(&rule(Allow, &["a.example.com"])));
    assert!(!rule(Deny, &[]).overrules(&rule(Allow, &["a.example.com"])));
    let get = EgressRule {
        methods: vec!["GET".into()],
        ..rule(Deny, &["a.example"])
    };
    assert!(all.overrules(&get) && !get.overrules(&rule(Allow, &["a.example"])));
    let any = EgressRule {
        methods: vec!["*".into()],
        ..rule(Deny, &["a.example"])
    };
    assert!(any.overrules(&get) && any.overrules(&rule(Allow, &["a.example"])));
    assert!(!get.overrules(&any));
}

proptest! {
    /// A CONNECT is refused only where every request would be.
    #[test]
    fn a_refused_tunnel_could_have_held_no_request(
        rules in prop::collection::vec((0..3u8, 0..3usize, any::<bool>(), any::<bool>()), 0..6),
        default in 0..3u8,
        method in prop::sample::select(vec!["GET", "PUT"]),
        path in prop::sample::select(vec!["/", "/a", "/b/%2e%2e/a"]),
    ) {
        let stance = |number: u8| [Stance::Allow, Stance::Observe, Stance::Deny][usize::from(number)];
        let hosts: [&[&str]; 3] = [&[], &["*.example.com"], &["a.example.com"]];
        let rules: Vec<_> = rules.into_iter().map(|(number, host, get, below)| EgressRule {
            methods: get.then(|| "GET".to_owned()).into_iter().collect(),
            paths: below.then(|| "/a".parse().unwrap()).into_iter().collect(),
            ..rule(stance(number), hosts[host])
        }).collect();
        let found = at(&rules, stance(default), "a.example.com");
        if found.decide_connect().stance == Stance::Deny {
            prop_assert_eq!(found.decide(&asked(method, path)).stance, Stance::Deny);
        }
        if found.decide_blind().stance != Stance::Deny {
            prop_assert!(found.decide(&asked(method, path)).stance != Stance::Deny);
        }
        if found.is_open() {
            prop_assert_eq!(found.decide(&asked(method, path)).stance, Stance::Allow);
        }
    }
}
