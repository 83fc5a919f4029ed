//! Rules about where clients may go, and where they went.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::{Answer, Page, PageSize, page_size};
use super::asked::Asked;
use super::inputs::{Action, Method};
use super::request::{Json, Names, Search, message, named};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::admin::rules::{self, Journey};
use crate::policy::egress::{EgressRule, Stance};
use crate::policy::grant::{HostPattern, PathPrefix};
use crate::vault::access::Scope;
use crate::vault::egress::{EgressChange, EgressEntry, Subject};
use crate::views;

/// How far back it is said where clients went, at most, in days.
const MOST_DAYS: u16 = 365;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(list_rules, add_rule))
        .routes(routes!(remove_rule))
        .routes(routes!(list_destinations))
        .routes(routes!(list_own_keys))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RuleSearch {
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// How many items a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

/// List the rules about where clients may go
///
/// For administrators and auditors.
#[utoipa::path(get, path = "/rules", tag = "rules", params(RuleSearch),
    responses((status = OK, body = Page<views::EgressRule>)))]
async fn list_rules(
    asked: Asked,
    Search(search): Search<RuleSearch>,
) -> Result<Answer, AdminProblem> {
    rules::demand_all(&asked.sight)?;
    let page = Page::of(
        asked.sight.egress_rules(),
        // As wide as the widest, so that the order of texts is that of numbers.
        |(number, _)| format!("{number:019}"),
        search.after.as_deref(),
        page_size(search.limit),
        |(number, entry)| views::EgressRule::new(number, entry),
    );
    Ok(Answer::ok(&page))
}

message! {
    /// A rule. What is missing does not narrow it.
    RuleInput {
        /// Whom it is about: `client:ci`, `bob`, `group:ops` or `everyone`.
        subject: Subject as String,
        /// `allow`, `observe` or `deny`.
        rule: Stance as String,
        /// The hosts; every host if it is missing, which no `allow` may be about.
        hosts: Vec<HostPattern> as Option<Vec<String>>,
        /// Only requests with these methods.
        methods: Vec<Method> as Option<Vec<String>>,
        /// Only paths with these prefixes.
        paths: Vec<PathPrefix> as Option<Vec<String>>,
        /// Only these actions.
        actions: Vec<Action> as Option<Vec<String>>,
        /// Save it although it refuses what clients did in the last seven days.
        sure: bool as Option<bool>,
    }
}

impl RuleInput {
    fn into_rule(self) -> EgressRule {
        EgressRule {
            stance: self.rule,
            hosts: self.hosts,
            methods: self.methods.into_iter().map(|method| method.0).collect(),
            paths: self.paths,
            actions: self.actions.into_iter().map(|action| action.0).collect(),
        }
    }
}

/// Add a rule
///
/// For administrators. It holds from the next request on. One that would refuse what clients did in the
/// last seven days is not saved unless `sure`. The answer says where it never decides.
#[utoipa::path(post, path = "/rules", tag = "rules", request_body = RuleInput,
    responses((status = CREATED, body = views::EgressRule)))]
async fn add_rule(asked: Asked, Json(input): Json<RuleInput>) -> Result<Answer, AdminProblem> {
    rules::demand_all(&asked.sight)?;
    let registrar = asked.change()?;
    asked.caller.demand_fresh()?;
    let (subject, is_sure) = (input.subject.clone(), input.sure);
    let rule = input.into_rule();
    if rule.stance == Stance::Allow && rule.hosts.is_empty() {
        let detail =
            "name the hosts; what is allowed everywhere is egress.default in the configuration";
        return Err(AdminProblem::field("hosts", detail));
    }
    if rule.stance == Stance::Deny && !is_sure {
        let (context, sight) = (&asked.context, &asked.sight);
        let change = EgressChange::adding(EgressEntry {
            subject: subject.clone(),
            rule: rule.clone(),
            created: sight.now(),
        });
        let refused = rules::newly_refused(context, sight, &change).await?;
        if !refused.is_empty() {
            return Err(would_refuse(&refused));
        }
    }
    let number = registrar
        .add_egress(&asked.actor(), &subject, &rule)
        .await?;
    let sight = asked.after_change().await?;
    let entry = EgressEntry {
        subject,
        rule,
        created: sight.now(),
    };
    let added = views::EgressRule {
        remarks: rules::remarks(&asked.context, &sight, number),
        ..views::EgressRule::new(number, &entry)
    };
    Ok(Answer::ok(&added).newly_made())
}

/// That rules would end what works.
pub(super) fn would_refuse(refused: &[String]) -> AdminProblem {
    let listed = refused[..refused.len().min(rules::LISTED)].join("; ");
    AdminProblem::because(
        Trouble::Conflict,
        format!(
            "This would refuse what clients did in the last seven days: {listed}. Allow these \
             first, or send `sure`."
        ),
    )
}

/// Which rule.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct RulePath {
    /// Its number.
    #[param(pattern = "^[1-9][0-9]{0,17}$")]
    rule: String,
}

/// Remove a rule
///
/// For administrators. From the next request on. The answer says what is refused from then on.
#[utoipa::path(delete, path = "/rules/{rule}", tag = "rules", params(RulePath),
    responses((status = OK, body = views::EgressRuleRemoved)))]
async fn remove_rule(asked: Asked, Names(path): Names<RulePath>) -> Result<Answer, AdminProblem> {
    rules::demand_all(&asked.sight)?;
    let registrar = asked.change()?;
    asked.caller.demand_fresh()?;
    let number = named(&path.rule)?;
    let remarks = rules::what_ends(&asked.context, &asked.sight, number).await;
    registrar.remove_egress(&asked.actor(), number).await?;
    asked.after_change().await?;
    Ok(Answer::ok(&views::EgressRuleRemoved { number, remarks }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DestinationSearch {
    /// Only of this client.
    client: Option<String>,
    /// Of how many days, 7 if it is missing.
    #[param(minimum = 1, maximum = 365)]
    days: Option<u16>,
    /// Where the page begins: `next` of the page before.
    after: Option<String>,
    /// How many items a page has, at most 500.
    #[param(value_type = Option<usize>, minimum = 1, maximum = 500)]
    limit: Option<PageSize>,
}

/// List where clients went
///
/// By client, action and host: first and last time, uses, what was only observed and what was refused
/// for want of a rule, and what becomes of such a request now. Members see their own clients.
#[utoipa::path(get, path = "/destinations", tag = "rules", params(DestinationSearch),
    responses((status = OK, body = Page<views::Destination>)))]
async fn list_destinations(
    asked: Asked,
    Search(search): Search<DestinationSearch>,
) -> Result<Answer, AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    let since = since(&asked, search.days);
    let journeys = asked.context.services().journeys(since).await?;
    let known = rules::known(&asked.context, &asked.sight, journeys);
    let client = search.client.as_deref();
    let wanted = known
        .into_iter()
        .filter(|one| client.is_none_or(|client| one.route.client == client));
    let page = Page::of(
        wanted,
        |one| {
            let route = &one.route;
            [
                &route.client,
                &route.principal,
                &route.action,
                &route.destination,
            ]
            .map(String::as_str)
            .join("\u{1}")
        },
        search.after.as_deref(),
        page_size(search.limit),
        |one| view(&one),
    );
    Ok(Answer::ok(&page))
}

fn view(journey: &Journey) -> views::Destination {
    let decision = journey.decision.as_ref();
    views::Destination {
        client: journey.route.client.clone(),
        principal: journey.route.principal.clone(),
        action: journey.route.action.clone(),
        destination: journey.route.destination.clone(),
        first: journey.trips.first.map(|time| time.to_string()),
        last: journey.trips.last.map(|time| time.to_string()),
        used: journey.trips.used,
        observed: journey.trips.observed,
        refused: journey.trips.refused,
        decision: decision.map(|decision| decision.stance.as_str()),
        decided_by: decision.map(rules::decided_by),
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct OwnKeySearch {
    /// Of how many days, 7 if it is missing.
    #[param(minimum = 1, maximum = 365)]
    days: Option<u16>,
}

/// List where clients bring keys that Egret does not hold
///
/// Never the keys. They are looked for where `own_keys` in the configuration says so. Members see their
/// own clients.
#[utoipa::path(get, path = "/own-keys", tag = "rules", params(OwnKeySearch),
    responses((status = OK, body = Vec<views::OwnKey>)))]
async fn list_own_keys(
    asked: Asked,
    Search(search): Search<OwnKeySearch>,
) -> Result<Answer, AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    let since = since(&asked, search.days);
    let found = rules::own_keys(&asked.context, &asked.sight, since).await?;
    let views: Vec<_> = found
        .into_iter()
        .map(|(bringing, tally)| views::OwnKey::new(bringing, tally))
        .collect();
    Ok(Answer::ok(&views))
}

/// The time so many days ago, unix seconds.
fn since(asked: &Asked, days: Option<u16>) -> i64 {
    let days = days.unwrap_or(7).clamp(1, MOST_DAYS);
    asked.sight.now() - i64::from(days) * 24 * 60 * 60
}
