//! What waits for somebody's word: uses that owners are asked about, and credentials that clients ask
//! for. Owners know of their own; administrators and auditors see all, and answer none of others.

use std::cmp::Reverse;

use super::super::egress_directory::{EgressRoute, UnverifiedRule};
use super::Sight;
use crate::policy::egress::{Decision, OperatorEgress};
use crate::vault::approval::Approval;
use crate::vault::egress::{EgressChange, EgressEntry};
use crate::vault::key_request::KeyRequest;

impl Sight {
    /// Questions and answers that still mean something, those that wait first, the latest first.
    pub fn approvals(&self) -> Vec<(&str, &Approval)> {
        let all = self.directory.approvals.values().flatten();
        let seen = all.filter(|(_, approval)| {
            approval.is_kept(self.now) && self.may_see(&approval.owner, false)
        });
        let mut seen: Vec<_> = seen.map(|(id, approval)| (id.as_str(), approval)).collect();
        seen.sort_by_key(|(id, approval)| {
            (approval.answer.is_some(), Reverse(approval.asked), *id)
        });
        seen
    }

    /// A question with its answer.
    pub fn approval(&self, id: &str) -> Option<&Approval> {
        let mut all = self.approvals().into_iter();
        all.find(|(known, _)| *known == id)
            .map(|(_, approval)| approval)
    }

    /// Credentials that are asked for, by number, until they are forgotten.
    pub fn key_requests(&self) -> impl Iterator<Item = (i64, &KeyRequest)> {
        let all = self.directory.key_requests.iter();
        let seen = all
            .filter(|(_, request)| self.now < request.until && self.may_see(&request.owner, false));
        seen.map(|(number, request)| (*number, request))
    }

    /// A credential that is asked for.
    pub fn key_request(&self, number: i64) -> Option<&KeyRequest> {
        let mut all = self.key_requests();
        all.find(|(known, _)| *known == number)
            .map(|(_, request)| request)
    }

    /// What becomes of a request of a client; of others' clients for those who see everything.
    ///
    /// # Errors
    /// When a rule was not written by Egret, or the client is none of the viewer's business.
    pub fn egress_decision(
        &self,
        route: &EgressRoute<'_>,
        operator: &OperatorEgress,
    ) -> Result<Decision, UnverifiedRule> {
        if !self.may_see(route.principal, false) {
            return Err(UnverifiedRule);
        }
        self.vault.egress_decision(route, operator)
    }

    /// Whether a request that is let through now would be refused under other rules.
    ///
    /// # Errors
    /// As [`Sight::egress_decision`].
    pub fn would_close(
        &self,
        route: &EgressRoute<'_>,
        operator: &OperatorEgress,
        change: &EgressChange,
    ) -> Result<bool, UnverifiedRule> {
        if !self.may_see(route.principal, false) {
            return Err(UnverifiedRule);
        }
        self.vault.would_close(route, operator, change)
    }

    /// The rules about where clients may go, by number, for those who see everything.
    pub fn egress_rules(&self) -> impl Iterator<Item = (i64, &EgressEntry)> {
        let all = self.directory.egress.entries.iter();
        all.filter(|_| self.sees_all())
            .map(|(number, entry)| (*number, entry))
    }
}
