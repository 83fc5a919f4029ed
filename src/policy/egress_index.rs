//! Egress rules by the hosts that they name, so that a request is compared with the few that concern
//! it, however many there are.

use std::collections::HashMap;
use std::sync::Arc;

use super::destination::{Destination, Host};
use super::egress::{EgressRule, Reach};
use super::grant::HostPattern;

/// Rules, each with what else is known of it.
#[derive(Clone, Debug)]
pub struct EgressIndex<T> {
    exact: HashMap<Host, Vec<Indexed<T>>>,
    /// By the domain before which one label stands.
    wildcard: HashMap<Arc<str>, Vec<Indexed<T>>>,
    any: Vec<Indexed<T>>,
}

/// A rule under one of its hosts.
#[derive(Clone, Debug)]
struct Indexed<T> {
    host: Option<HostPattern>,
    about: T,
    rule: Arc<EgressRule>,
}

impl<T> Default for EgressIndex<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            wildcard: HashMap::new(),
            any: Vec::new(),
        }
    }
}

impl<T: Clone> EgressIndex<T> {
    /// Adds a rule.
    pub fn add(&mut self, about: &T, rule: &Arc<EgressRule>) {
        let indexed = |host: Option<&HostPattern>| Indexed {
            host: host.cloned(),
            about: about.clone(),
            rule: Arc::clone(rule),
        };
        if rule.hosts.is_empty() {
            self.any.push(indexed(None));
        }
        for host in &rule.hosts {
            let rules = match host.named() {
                Ok(exact) => self.exact.entry(exact.clone()).or_default(),
                Err(domain) => self.wildcard.entry(Arc::clone(domain)).or_default(),
            };
            rules.push(indexed(Some(host)));
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.wildcard.is_empty() && self.any.is_empty()
    }

    /// The rules that name a destination, with how exactly they do.
    pub fn at<'a>(
        &'a self,
        destination: &'a Destination,
    ) -> impl Iterator<Item = (Reach, &'a T, &'a Arc<EgressRule>)> {
        let exact = self.exact.get(&destination.host);
        let wildcard = match &destination.host {
            Host::Domain(name) => name
                .split_once('.')
                .and_then(|(_, domain)| self.wildcard.get(domain)),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        };
        let levels = [
            (Reach::Exact, exact.map(Vec::as_slice)),
            (Reach::Wildcard, wildcard.map(Vec::as_slice)),
            (Reach::Any, Some(self.any.as_slice())),
        ];
        levels.into_iter().flat_map(move |(reach, rules)| {
            let rules = rules.unwrap_or_default().iter();
            // Scheme and port are still to be compared.
            let names = |indexed: &&Indexed<T>| {
                let host = indexed.host.as_ref();
                host.is_none_or(|host| host.matches(destination))
            };
            let named = rules.filter(names);
            named.map(move |indexed| (reach, &indexed.about, &indexed.rule))
        })
    }
}
