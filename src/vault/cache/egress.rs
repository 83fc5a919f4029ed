//! Egress rules, prepared for requests.

use std::sync::Arc;

use super::Vault;
use super::directory::DirectoryIndex;
use super::egress_directory::{EgressRoute, UnverifiedRule};
use crate::policy::destination::Destination;
use crate::policy::egress::{Applicable, DecidedBy, Decision, EgressRules, OperatorEgress, Stance};
use crate::policy::egress_index::EgressIndex;
use crate::vault::egress::{EgressChange, Subject};
use crate::vault::name::Principal;

impl Vault {
    /// What is to be asked about requests of a client to a destination; `None` where all of them are
    /// let through and nothing is recorded.
    ///
    /// # Errors
    /// When a rule was not written by Egret.
    pub fn egress(
        &self,
        principal: &Principal,
        client: &str,
        destination: &Destination,
        operator: &OperatorEgress,
    ) -> Result<Option<EgressRules>, UnverifiedRule> {
        let directory = self.directory.load();
        let stored = &directory.egress;
        if stored.is_unverified {
            return Err(UnverifiedRule);
        }
        if stored.index.is_empty() && operator.is_open() {
            return Ok(None);
        }
        let rules = directory.applicable_egress(principal, client, destination);
        let rules = operator.with(destination, rules);
        Ok((!rules.is_open()).then_some(rules))
    }

    /// The same with other rules. For whoever is about to change them.
    ///
    /// # Errors
    /// When a rule was not written by Egret.
    pub fn egress_with(
        &self,
        principal: &Principal,
        client: &str,
        destination: &Destination,
        operator: &OperatorEgress,
        change: &EgressChange,
    ) -> Result<EgressRules, UnverifiedRule> {
        let directory = self.directory.load();
        if directory.egress.is_unverified {
            return Err(UnverifiedRule);
        }
        let mut rules = directory.applicable_egress(principal, client, destination);
        let stays = |applicable: &Applicable| match applicable.by {
            DecidedBy::Rule(number) => !change.removed.contains(&number),
            DecidedBy::Default | DecidedBy::Operator => true,
        };
        rules.retain(stays);
        for added in &change.added {
            if !directory.concerns(&added.subject, principal, client) {
                continue;
            }
            let mut index = EgressIndex::default();
            index.add(&(), &Arc::new(added.rule.clone()));
            let named = index.at(destination).map(|(reach, (), rule)| Applicable {
                reach,
                by: DecidedBy::Rule(0),
                rule: Arc::clone(rule),
            });
            rules.extend(named);
        }
        Ok(operator.with(destination, rules))
    }

    /// What becomes of a request of a client.
    ///
    /// # Errors
    /// When a rule was not written by Egret.
    pub fn egress_decision(
        &self,
        route: &EgressRoute<'_>,
        operator: &OperatorEgress,
    ) -> Result<Decision, UnverifiedRule> {
        let EgressRoute {
            principal,
            client,
            destination,
            asked,
        } = route;
        let rules = self.egress(principal, client, destination, operator)?;
        let rules = rules.unwrap_or_else(|| operator.with(destination, Vec::new()));
        Ok(rules.decide(asked))
    }

    /// Whether a request that is let through now would be refused under other rules.
    ///
    /// # Errors
    /// When a rule was not written by Egret.
    pub fn would_close(
        &self,
        route: &EgressRoute<'_>,
        operator: &OperatorEgress,
        change: &EgressChange,
    ) -> Result<bool, UnverifiedRule> {
        let (principal, client) = (route.principal, route.client);
        let now = self.egress_decision(route, operator)?;
        let then = self.egress_with(principal, client, route.destination, operator, change)?;
        let then = then.decide(&route.asked);
        Ok(now.stance != Stance::Deny && then.stance == Stance::Deny)
    }
}

impl DirectoryIndex {
    /// The rules about a client of `principal` that name a destination.
    fn applicable_egress(
        &self,
        principal: &Principal,
        client: &str,
        destination: &Destination,
    ) -> Vec<Applicable> {
        let named = self.egress.index.at(destination);
        let rules = named.filter(|(_, (_, subject), _)| self.concerns(subject, principal, client));
        let rules = rules.map(|(reach, (number, _), rule)| Applicable {
            reach,
            by: DecidedBy::Rule(*number),
            rule: Arc::clone(rule),
        });
        rules.collect()
    }

    fn concerns(&self, subject: &Subject, principal: &Principal, client: &str) -> bool {
        match subject {
            Subject::Client(name) => name.as_str() == client,
            Subject::Of(grantee) => self.standing(principal).present.contains(grantee),
        }
    }
}
