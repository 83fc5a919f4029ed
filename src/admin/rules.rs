//! Rules about where clients may go, for API and pages: what a rule would end, and where clients went.

use super::context::AdminContext;
use super::problem::{AdminProblem, Trouble};
use crate::ledger::own_keys::{Bringing, Tally};
use crate::ledger::went::{Journeys, Route, Trips};
use crate::policy::egress::{Asked, Decision};
use crate::vault::cache::EgressRoute;
use crate::vault::egress::EgressChange;
use crate::vault::{Principal, Sight};
use crate::views;

/// How far back a new rule is compared with what clients did, in seconds.
const LOOK_BACK: i64 = 7 * 24 * 60 * 60;

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
    let mut refused = Vec::new();
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
        let line = format!("{} to {destination}, last at {last}", went.client);
        let closed = sight.would_close(&route, operator, change);
        if closed.map_err(|_| unverified())? && !refused.contains(&line) {
            refused.push(line);
        }
    }
    Ok(refused)
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
