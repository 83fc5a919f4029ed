//! Rules about where clients may go, for API and pages: what a rule would end, and where clients went.

use super::context::AdminContext;
use super::problem::{AdminProblem, Trouble};
use crate::ledger::own_keys::{Bringing, Tally};
use crate::ledger::went::{Ended, Journeys, LOOK_BACK, Route, Trips};
use crate::policy::egress::{Asked, Decision, Stance};
use crate::vault::cache::EgressRoute;
use crate::vault::egress::{self, EgressChange, EgressEntry, RuleFor};
use crate::vault::{Principal, Sight};
use crate::views;

/// Most requests that are listed.
pub(super) const LISTED: usize = 20;

/// Only those who see everything see rules, which are about everyone.
///
/// # Errors
/// For everyone else.
pub fn demand_all(sight: &Sight) -> Result<(), AdminProblem> {
    if sight.sees_all() {
        return Ok(());
    }
    Err(AdminProblem::because(
        Trouble::Forbidden,
        "Rules are about everyone: administrators and auditors see them, administrators change them.",
    ))
}

/// What clients did in the last seven days that other rules would refuse, a line for each client and
/// destination.
///
/// # Errors
/// When the ledger cannot be read, or a rule was not written by Egret.
pub async fn newly_refused(
    context: &AdminContext,
    sight: &Sight,
    change: &EgressChange,
) -> Result<Vec<String>, AdminProblem> {
    let settings = context.settings();
    let operator = &settings.config.egress.rules;
    let since = sight.now() - LOOK_BACK;
    let mut ended = Ended::default();
    for (went, last) in context.services().went_through(since).await? {
        let (Some(destination), Ok(principal)) =
            (went.destination(), Principal::parse(&went.principal))
        else {
            continue;
        };
        let route = EgressRoute {
            principal: &principal,
            client: &went.client,
            destination: &destination,
            asked: went.asked(),
        };
        let closed = sight.would_close(&route, operator, change);
        if closed.map_err(|_| unverified())? {
            ended.add(&went.client, &destination, last);
        }
    }
    Ok(ended.lines())
}

/// What of a rule that is there may be a mistake: where it never decides, or another one does not.
pub fn remarks(context: &AdminContext, sight: &Sight, number: i64) -> Vec<String> {
    let Some((_, entry)) = sight.egress_rules().find(|(known, _)| *known == number) else {
        return Vec::new();
    };
    let new = RuleFor {
        subject: &entry.subject,
        rule: &entry.rule,
    };
    let others = sight.egress_rules().filter(|(other, _)| *other != number);
    let settings = context.settings();
    let mut remarks = egress::remarks(new, others, &settings.config.egress.rules);
    let registered = entry.subject.registered();
    let unknown = registered.filter(|name| sight.client(name).is_none());
    remarks.extend(unknown.map(|name| egress::no_such_client(&name)));
    remarks
}

/// What clients did in the last seven days and cannot do without a rule.
pub async fn what_ends(context: &AdminContext, sight: &Sight, number: i64) -> Vec<String> {
    let opens =
        |(known, entry): (i64, &EgressEntry)| known == number && entry.rule.stance != Stance::Deny;
    // One that was not written by Egret decides nothing.
    if !sight.egress_rules().any(opens) {
        return Vec::new();
    }
    match newly_refused(context, sight, &EgressChange::removing(number)).await {
        Ok(refused) => {
            let refused = refused.iter().take(LISTED);
            refused
                .map(|line| egress::refused_from_now_on(line))
                .collect()
        }
        // It goes all the same: one that was a mistake has to go at once.
        Err(problem) => {
            let reason = &problem.detail;
            vec![format!(
                "what is refused from now on is not known: {reason}"
            )]
        }
    }
}

/// A rule is not to be trusted.
pub(super) fn unverified() -> AdminProblem {
    AdminProblem::because(
        Trouble::Conflict,
        "A rule was changed in the store by something that is not Egret. `egret store check` names it, \
         and `egret egress remove` removes it.",
    )
}

/// Where a client went, and what becomes of a GET that goes there now.
pub struct Journey {
    /// Who went where.
    pub route: Route,
    /// How often, and when.
    pub trips: Trips,
    /// What becomes of it now; `None` while a rule is not to be trusted.
    pub decision: Option<Decision>,
}

/// The routes that the viewer may know of.
pub fn known(context: &AdminContext, sight: &Sight, journeys: Journeys) -> Vec<Journey> {
    let settings = context.settings();
    let operator = &settings.config.egress.rules;
    let mut known = Vec::new();
    for (route, trips) in journeys.routes {
        let Ok(principal) = Principal::parse(&route.principal) else {
            continue;
        };
        if principal != *sight.viewer() && !sight.sees_all() {
            continue;
        }
        let destination = route.to();
        let decision = destination.as_ref().and_then(|destination| {
            let asked = EgressRoute {
                principal: &principal,
                client: &route.client,
                destination,
                asked: Asked {
                    method: "GET",
                    path: "/",
                    action: &route.action,
                },
            };
            sight.egress_decision(&asked, operator).ok()
        });
        known.push(Journey {
            route,
            trips,
            decision,
        });
    }
    known
}

/// Keys that the viewer's clients brought since a time (unix seconds); all for those who see everything.
///
/// # Errors
/// When the ledger cannot be read.
pub async fn own_keys(
    context: &AdminContext,
    sight: &Sight,
    since: i64,
) -> Result<Vec<(Bringing, Tally)>, AdminProblem> {
    let found = context.services().own_keys(since).await?.into_iter();
    let known = found
        .filter(|(bringing, _)| sight.sees_all() || bringing.principal == sight.viewer().as_str());
    Ok(known.collect())
}

/// What decides, in words.
pub fn decided_by(decision: &Decision) -> String {
    views::EgressCheck::new(decision).by
}
