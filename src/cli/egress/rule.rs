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
use crate::vault::egress::{EgressChange, EgressEntry, Subject, describe};
use crate::vault::people::Grantee;
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
            return added(made.number, &subject, &rule, self.format);
        }
        let session = context.open().await?;
        let existing = session.store.list_egress().await?;
        if !self.yes && stance == Stance::Deny {
            warn_of_lockout(&session, &subject, &rule).await?;
        }
        for (number, entry) in &existing {
            remark(*number, entry, &subject, &rule);
        }
        say_closed(&session, &rule);
        say_if_unknown(&session, &subject).await?;
        let number = session
            .registrar
            .add_egress(&actor(), &subject, &rule)
            .await?;
        session.finish().await?;
        added(number, &subject, &rule, self.format)
    }
}

fn added(number: i64, subject: &Subject, rule: &EgressRule, format: Format) -> anyhow::Result<()> {
    output::data(format, &views::EgressChange { number }, || {
        format!("Rule {number}: {}.\n", describe(subject, rule))
    })
}

/// Says what a rule does to those that are there, where one of them will never decide anything.
fn remark(number: i64, entry: &EgressEntry, subject: &Subject, rule: &EgressRule) {
    let includes =
        |one: &Subject, other: &Subject| one == other || *one == Subject::Of(Grantee::Everyone);
    let stance = entry.rule.stance.as_str();
    if includes(&entry.subject, subject) && entry.rule.overrules(rule) {
        output::note(&format!(
            "rule {number} ({stance}) covers this one, which changes nothing as long as that one is there"
        ));
    } else if includes(subject, &entry.subject) && rule.overrules(&entry.rule) {
        output::note(&format!(
            "this rule covers rule {number} ({stance}), which changes nothing from now on"
        ));
    } else if includes(&entry.subject, subject) {
        for host in hosts_decided_by(&entry.rule, rule) {
            output::note(&format!(
                "rule {number} ({stance}) decides at {host}, where this one changes nothing as long as that one is there"
            ));
        }
    }
}

/// The hosts of a rule at which another one decides everything.
fn hosts_decided_by<'a>(by: &EgressRule, rule: &'a EgressRule) -> Vec<&'a HostPattern> {
    let at = |host: &&HostPattern| {
        by.overrules(&EgressRule {
            hosts: vec![(*host).clone()],
            ..rule.clone()
        })
    };
    rule.hosts.iter().filter(at).collect()
}

/// Says which hosts the configuration closes to everyone, whatever a rule says.
fn say_closed(session: &Session, rule: &EgressRule) {
    let operator = &session.config.egress.rules;
    for host in &rule.hosts {
        let closes = |closed: &&HostPattern| rule.stance != Stance::Deny && closed.includes(host);
        if let Some(closed) = operator.deny.iter().find(closes) {
            output::note(&format!(
                "egress.deny in the configuration closes {closed} to everyone: the rule opens nothing at {host}"
            ));
        }
    }
}

/// A client of an issuer of tokens is in no store, and a mistyped name is not either.
async fn say_if_unknown(session: &Session, subject: &Subject) -> anyhow::Result<()> {
    let Subject::Client(name) = subject else {
        return Ok(());
    };
    let Some(name) = name.registered() else {
        return Ok(());
    };
    let clients = session.store.list_clients().await?;
    if !clients.iter().any(|client| client.name == name) {
        output::note(&format!("there is no client {name} yet"));
    }
    Ok(())
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

/// Says what clients did lately and cannot do without a rule. It is removed all the same: one that was a
/// mistake has to go at once.
async fn say_what_ends(session: &Session, number: i64) -> anyhow::Result<()> {
    let rules = session.store.list_egress().await;
    let closes = |entry: &EgressEntry| entry.rule.stance == Stance::Deny;
    // One that was not written by Egret decides nothing.
    if !rules.is_ok_and(|rules| rules.get(&number).is_some_and(|entry| !closes(entry))) {
        return Ok(());
    }
    for line in newly_refused(session, &EgressChange::removing(number)).await? {
        output::note(&format!("refused from now on: {line}"));
    }
    Ok(())
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
        match context.server() {
            Some(server) => server.delete(&format!("/rules/{number}")).await?,
            None => {
                let session = context.open().await?;
                say_what_ends(&session, number).await?;
                session.registrar.remove_egress(&actor(), number).await?;
                session.finish().await?;
            }
        }
        let view = views::EgressChange { number };
        output::data(self.format, &view, || {
            format!("Rule {number} is removed.\n")
        })
    }
}
