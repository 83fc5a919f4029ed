//! Where clients may go, and where they went.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};

use super::failure::Failure;
use super::fields::{Fields, Wrong};
use super::layout::{self, Layout, Section};
use super::text;
use super::visit::{Sent, Visit};
use super::when::When;
use crate::admin::AdminContext;
use crate::admin::rules::{self, Journey};
use crate::ledger::own_keys::{Bringing, Tally};
use crate::ledger::went::LOOK_BACK;
use crate::policy::egress::{EgressRule, Stance};
use crate::policy::grant::{self, HostPattern};
use crate::vault::CallerName;
use crate::vault::egress::{EgressChange, EgressEntry, Subject};

/// Rows of the table.
const ROWS: usize = 200;

#[derive(Template)]
#[template(path = "rules.html")]
struct RulesPage {
    layout: Layout,
    sees_rules: bool,
    may_change: bool,
    rules: Vec<RuleRow>,
    default: &'static str,
    operator: Vec<(&'static str, String)>,
    journeys: Vec<Row>,
    more_journeys: usize,
    is_cut: bool,
    suggestions: Vec<Suggestion>,
    own_keys: Vec<OwnKeyRow>,
    form: Form,
    /// Whether the address filled the form in.
    is_filled_in: bool,
    /// What the rule would have refused.
    refused: Vec<String>,
    /// What of the rule that was just added may be a mistake.
    remarks: Vec<String>,
    wrong: Wrong,
}

#[derive(Template)]
#[template(path = "remove-rule.html")]
struct RemovePage {
    layout: Layout,
    rule: RuleRow,
    /// What is refused without it.
    ends: Vec<String>,
}

struct RuleRow {
    path: String,
    stance: &'static str,
    subject: String,
    hosts: String,
    narrowed: String,
    added: String,
}

/// A client's action at a host.
struct Row {
    client: String,
    principal: String,
    action: String,
    host: String,
    /// As a rule names it.
    pattern: String,
    first: String,
    last: String,
    used: u64,
    observed: u64,
    refused: u64,
    stance: &'static str,
    by: String,
    /// Whether a rule for the client can be made of it.
    is_client: bool,
}

/// A key that a client brings.
struct OwnKeyRow {
    client: String,
    host: String,
    place: String,
    at_least: u64,
    /// The form that brings it in.
    form: String,
}

/// The hosts that would let everything through that was observed of a client.
struct Suggestion {
    client: String,
    hosts: String,
    count: usize,
}

struct Form {
    subject: String,
    rule: String,
    hosts: String,
    methods: String,
    paths: String,
    actions: String,
}

impl Form {
    /// With what was typed.
    fn typed(fields: &Fields) -> Self {
        let text = |name: &str| fields.text(name).to_owned();
        Self {
            subject: text("subject"),
            rule: text("rule"),
            hosts: text("hosts"),
            methods: text("methods"),
            paths: text("paths"),
            actions: text("actions"),
        }
    }
}

/// `GET /settings/rules`
pub(super) async fn show(
    State(context): State<AdminContext>,
    visit: Visit,
) -> Result<Response, Failure> {
    let page = rules_page(&context, &visit, Wrong::default()).await?;
    Ok(layout::page(&page))
}

async fn rules_page(
    context: &AdminContext,
    visit: &Visit,
    wrong: Wrong,
) -> Result<RulesPage, Failure> {
    let sight = &visit.sight;
    let journeys = context.services().journeys(sight.now() - LOOK_BACK).await?;
    let is_cut = journeys.is_cut;
    let known = rules::known(context, sight, journeys);
    let mut journeys: Vec<Row> = known.iter().map(row).collect();
    let more_journeys = journeys.len().saturating_sub(ROWS);
    journeys.truncate(ROWS);
    let settings = context.settings();
    let operator = &settings.config.egress.rules;
    let texts = |hosts: &[HostPattern]| {
        let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
        hosts.join(", ")
    };
    let required = settings.config.destinations.iter();
    let required = required.filter(|rule| rule.require == Some(true));
    let required: Vec<HostPattern> = required.flat_map(|rule| rule.hosts.clone()).collect();
    let parts = [
        ("Open to everyone", texts(&operator.allow)),
        ("Closed to everyone", texts(&operator.deny)),
        ("Only with a credential", texts(&required)),
    ];
    let sees_rules = sight.sees_all();
    let own_keys = rules::own_keys(context, sight, sight.now() - LOOK_BACK).await?;
    Ok(RulesPage {
        layout: visit.layout("Where clients go", Section::Rules),
        sees_rules,
        may_change: visit.person.administers(),
        rules: sight.egress_rules().map(rule_row).collect(),
        default: operator.default.as_str(),
        operator: parts
            .into_iter()
            .filter(|(_, hosts)| sees_rules && !hosts.is_empty())
            .collect(),
        journeys,
        more_journeys,
        is_cut,
        suggestions: suggestions(&known),
        own_keys: own_keys.iter().map(own_key).collect(),
        is_filled_in: !visit.fields.trimmed("subject").is_empty(),
        form: Form::typed(&visit.fields),
        refused: Vec::new(),
        remarks: match visit.fields.trimmed("added").parse() {
            Ok(number) => rules::remarks(context, sight, number),
            Err(_) => Vec::new(),
        },
        wrong,
    })
}

fn rule_row((number, entry): (i64, &EgressEntry)) -> RuleRow {
    let rule = &entry.rule;
    let hosts: Vec<_> = rule.hosts.iter().map(ToString::to_string).collect();
    let paths: Vec<_> = rule.paths.iter().map(ToString::to_string).collect();
    let parts = [
        ("methods", rule.methods.join(" ")),
        ("paths", paths.join(" ")),
        ("actions", rule.actions.join(", ")),
    ];
    let parts = parts.iter().filter(|(_, text)| !text.is_empty());
    let narrowed: Vec<_> = parts.map(|(name, text)| format!("{name} {text}")).collect();
    RuleRow {
        path: format!("/settings/rules/{number}"),
        stance: rule.stance.as_str(),
        subject: entry.subject.to_string(),
        hosts: hosts.join(", "),
        narrowed: narrowed.join("; "),
        added: When::at(entry.created).html(),
    }
}

fn row(journey: &Journey) -> Row {
    let (route, trips) = (&journey.route, &journey.trips);
    let time = |time: Option<_>| time.map_or_else(|| "–".to_owned(), |time| When::of(time).html());
    let decision = journey.decision.as_ref();
    Row {
        client: text::shown(&route.client),
        principal: text::shown(&route.principal),
        action: text::shown_or_dash(Some(&route.action)),
        host: text::host(&route.destination),
        pattern: pattern(journey).map_or_else(String::new, |host| host.to_string()),
        first: time(trips.first),
        last: time(trips.last),
        used: trips.used,
        observed: trips.observed,
        refused: trips.refused,
        stance: decision.map_or("unknown", |decision| decision.stance.as_str()),
        by: decision.map_or_else(String::new, rules::decided_by),
        is_client: route.client.parse::<CallerName>().is_ok(),
    }
}

fn pattern(journey: &Journey) -> Option<HostPattern> {
    Some(HostPattern::of(&journey.route.to()?))
}

fn own_key((bringing, tally): &(Bringing, Tally)) -> OwnKeyRow {
    let query = text::query(&[("hosts", &bringing.host), ("locations", &bringing.place)]);
    OwnKeyRow {
        client: text::shown(&bringing.client),
        host: text::shown(&bringing.host),
        place: text::shown(&bringing.place),
        at_least: tally.at_least(),
        form: format!("/settings/credentials/new?{query}"),
    }
}

/// For each client the hosts that were only observed, or refused for want of a rule.
fn suggestions(known: &[Journey]) -> Vec<Suggestion> {
    let mut hosts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for journey in known {
        let is_open = journey
            .decision
            .as_ref()
            .is_some_and(|decision| decision.stance == Stance::Allow);
        let counts = journey.trips.observed + journey.trips.refused > 0;
        if !counts || is_open || journey.route.client.parse::<CallerName>().is_err() {
            continue;
        }
        let Some(host) = pattern(journey).map(|host| host.to_string()) else {
            continue;
        };
        let of_client = hosts.entry(&journey.route.client).or_default();
        if !of_client.contains(&host) {
            of_client.push(host);
        }
    }
    hosts
        .into_iter()
        .map(|(client, hosts)| Suggestion {
            client: client.to_owned(),
            count: hosts.len(),
            hosts: hosts.join("\n"),
        })
        .collect()
}

/// `POST /settings/rules`
pub(super) async fn add(
    State(context): State<AdminContext>,
    sent: Sent,
) -> Result<Response, Failure> {
    let sight = sent.person.look(&context).await?;
    rules::demand_all(&sight)?;
    sent.demand_fresh("/settings/rules")?;
    let Sent { person, fields } = sent;
    let mut wrong = Wrong::default();
    let mut refused = Vec::new();
    if let Some((subject, rule)) = read(&fields, &mut wrong) {
        if rule.stance == Stance::Deny && !fields.is_ticked("sure") {
            let change = EgressChange::adding(EgressEntry {
                subject: subject.clone(),
                rule: rule.clone(),
                created: sight.now(),
            });
            refused = rules::newly_refused(&context, &sight, &change).await?;
        }
        if refused.is_empty() {
            let registrar = context.registrar();
            let number = registrar
                .add_egress(&person.actor(), &subject, &rule)
                .await?;
            let added = format!("/settings/rules?done=rule-added&added={number}");
            return Ok(Redirect::to(&added).into_response());
        }
    }
    let visit = Visit {
        person,
        sight,
        fields,
    };
    let mut page = rules_page(&context, &visit, wrong).await?;
    page.is_filled_in = false;
    page.refused = refused;
    Ok(layout::refused(&page))
}

fn read(fields: &Fields, wrong: &mut Wrong) -> Option<(Subject, EgressRule)> {
    let subject: Option<Subject> = wrong.read_one("subject", fields.trimmed("subject"));
    if subject.is_none() && wrong.is_empty() {
        wrong.add("subject", "Say whom it is about.");
    }
    let stance: Option<Stance> = wrong.read_one("rule", fields.text("rule"));
    let rule = EgressRule {
        stance: stance?,
        hosts: wrong.read("hosts", fields.items("hosts")),
        methods: wrong.read_with("methods", fields.items("methods"), grant::parse_method),
        paths: wrong.read_with("paths", fields.items("paths"), grant::parse_path),
        actions: wrong.read_with("actions", fields.lines("actions"), grant::parse_action),
    };
    if rule.stance == Stance::Allow && rule.hosts.is_empty() && wrong.of("hosts").is_empty() {
        wrong.add(
            "hosts",
            "Name the hosts. What is open everywhere is egress.default in the configuration.",
        );
    }
    let subject = subject?;
    wrong.is_empty().then_some((subject, rule))
}

/// `POST /settings/rules/{number}/remove`: what ends with it is said first.
pub(super) async fn remove(
    State(context): State<AdminContext>,
    Path(number): Path<String>,
    sent: Sent,
) -> Result<Response, Failure> {
    let number: i64 = number.parse().map_err(|_| Failure::not_found())?;
    let visit = sent.again(&context).await?;
    rules::demand_all(&visit.sight)?;
    visit.person.demand_fresh("/settings/rules")?;
    if !visit.fields.is_ticked("sure") {
        let ends = rules::what_ends(&context, &visit.sight, number).await;
        let mut known = visit.sight.egress_rules();
        let rule = known.find(|(known, _)| *known == number).map(rule_row);
        if let Some(rule) = rule.filter(|_| !ends.is_empty()) {
            return Ok(layout::page(&RemovePage {
                layout: visit.layout("Remove a rule", Section::Rules),
                rule,
                ends,
            }));
        }
    }
    let registrar = context.registrar();
    registrar
        .remove_egress(&visit.person.actor(), number)
        .await?;
    Ok(Redirect::to("/settings/rules?done=rule-removed").into_response())
}
