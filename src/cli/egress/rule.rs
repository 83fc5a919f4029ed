//! `egret egress allow`, `observe`, `deny` and `remove`.

use clap::Args;

use super::target::Who;
use crate::cli::context::{Context, Session, actor};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::cli::remote::message;
use crate::cli::when;
use crate::policy::egress::{EgressRule, Stance};
use crate::policy::grant::{self, HostPattern, PathPrefix};
use crate::vault::egress::{
    EgressChange, EgressEntry, RuleFor, Subject, describe, no_such_client, refused_from_now_on,
    remarks,
};
use crate::views;

use super::check::newly_refused;

#[derive(Args)]
pub(super) struct Add {
    /// The hosts: api.example.com, *.example.com, a.example:8443 or http://a.example
    #[arg(value_name = "HOST")]
    hosts: Vec<HostPattern>,
    #[command(flatten)]
    who: Who,
    /// Only requests with this method; may be given several times
    #[arg(long = "method", value_name = "METHOD", value_parser = grant::parse_method)]
    methods: Vec<String>,
    /// Only requests whose path begins so, by whole segments; may be given several times
    #[arg(long = "path", value_name = "PREFIX", value_parser = grant::parse_path)]
    paths: Vec<PathPrefix>,
    /// Only requests of this action; may be given several times
    #[arg(long = "action", value_name = "ACTION", value_parser = grant::parse_action)]
    actions: Vec<String>,
    /// Save the rule although it refuses requests that clients sent in the last seven days
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    format: Format,
}

impl Add {
    pub(super) async fn run(self, context: &Context, stance: Stance) -> anyhow::Result<()> {
        if self.hosts.is_empty() && stance == Stance::Allow {
            return Err(usage(
                "name the hosts; what is allowed everywhere is egress.default in the configuration",
            ));
        }
        let subject = self.who.subject();
        let rule = EgressRule {
            stance,
            hosts: self.hosts,
            methods: self.methods,
            paths: self.paths,
            actions: self.actions,
        };
        if let Some(server) = context.server() {
            let mut message =
                message::lists(&rule.hosts, None, &rule.methods, &rule.paths, &rule.actions);
            message["subject"] = subject.to_string().into();
            message["rule"] = rule.stance.as_str().into();
            message["sure"] = self.yes.into();
            let made: views::EgressRule = server.post("/rules", &message).await?;
            return added(made.number, &subject, &rule, &made.remarks, self.format);
        }
        let session = context.open().await?;
        let existing = session.store.list_egress().await?;
        if !self.yes && stance == Stance::Deny {
            warn_of_lockout(&session, &subject, &rule).await?;
        }
        let new = RuleFor {
            subject: &subject,
            rule: &rule,
        };
        let present = existing.iter().map(|(number, entry)| (*number, entry));
        let mut remarks = remarks(new, present, &session.config.egress.rules);
        remarks.extend(unknown(&session, &subject).await?);
        let number = session
            .registrar
            .add_egress(&actor(), &subject, &rule)
            .await?;
        session.finish().await?;
        added(number, &subject, &rule, &remarks, self.format)
    }
}

fn added(
    number: i64,
    subject: &Subject,
    rule: &EgressRule,
    remarks: &[String],
    format: Format,
) -> anyhow::Result<()> {
    remarks.iter().for_each(|remark| output::note(remark));
    let view = views::EgressChange { number, remarks };
    output::data(format, &view, || {
        format!("Rule {number}: {}.\n", describe(subject, rule))
    })
}

/// A client of an issuer of tokens is in no store, and a mistyped name is not either.
async fn unknown(session: &Session, subject: &Subject) -> anyhow::Result<Option<String>> {
    let Some(name) = subject.registered() else {
        return Ok(None);
    };
    let clients = session.store.list_clients().await?;
    let is_known = clients.iter().any(|client| client.name == name);
    Ok((!is_known).then(|| no_such_client(&name)))
}

/// Refuses a rule that would end what works, unless it was meant.
async fn warn_of_lockout(
    session: &Session,
    subject: &Subject,
    rule: &EgressRule,
) -> anyhow::Result<()> {
    let change = EgressChange::adding(EgressEntry {
        subject: subject.clone(),
        rule: rule.clone(),
        created: when::now(),
    });
    let refused = newly_refused(session, &change).await?;
    if refused.is_empty() {
        return Ok(());
    }
    let list: String = refused.iter().map(|line| format!("  {line}\n")).collect();
    Err(usage(format!(
        "this rule would refuse what clients did in the last seven days:\n{list}Allow these first, \
         or save the rule all the same with --yes"
    )))
}

/// What clients did lately and cannot do without a rule. It is removed all the same: one that was a
/// mistake has to go at once.
async fn what_ends(session: &Session, number: i64) -> Vec<String> {
    let rules = session.store.list_egress().await;
    let opens = |entry: &EgressEntry| entry.rule.stance != Stance::Deny;
    // One that was not written by Egret decides nothing.
    if !rules.is_ok_and(|rules| rules.get(&number).is_some_and(opens)) {
        return Vec::new();
    }
    match newly_refused(session, &EgressChange::removing(number)).await {
        Ok(refused) => refused
            .iter()
            .map(|line| refused_from_now_on(line))
            .collect(),
        Err(error) => vec![format!(
            "what is refused from now on is not known: {error:#}"
        )],
    }
}

#[derive(Args)]
pub(super) struct Remove {
    /// The rule's number
    #[arg(value_name = "NUMBER")]
    number: i64,
    #[command(flatten)]
    format: Format,
}

impl Remove {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let number = self.number;
        let remarks = match context.server() {
            Some(server) => {
                let removed: views::EgressRuleRemoved =
                    server.remove(&format!("/rules/{number}")).await?;
                removed.remarks
            }
            None => {
                let session = context.open().await?;
                let ends = what_ends(&session, number).await;
                session.registrar.remove_egress(&actor(), number).await?;
                session.finish().await?;
                ends
            }
        };
        remarks.iter().for_each(|remark| output::note(remark));
        let remarks = &remarks;
        let view = views::EgressChange { number, remarks };
        output::data(self.format, &view, || {
            format!("Rule {number} is removed.\n")
        })
    }
}
