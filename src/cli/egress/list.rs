//! `egret egress list`.

use crate::cli::context::Context;
use crate::cli::output::{self, Format};
use crate::views;

pub(super) async fn run(context: &Context, format: Format) -> anyhow::Result<()> {
    if let Some(server) = context.server() {
        let listed: Vec<views::EgressRule> = server.list("/rules").await?;
        return show(&listed, None, format);
    }
    let session = context.open().await?;
    let rules = session.store.list_egress().await?;
    session.store.close().await;
    let listed: Vec<_> = rules
        .iter()
        .map(|(number, entry)| views::EgressRule::new(*number, entry))
        .collect();
    let default = session.config.egress.rules.default.as_str();
    show(&listed, Some(default), format)
}

/// Prints the rules; `default` is what decides where none matches, if that is known.
fn show(listed: &[views::EgressRule], default: Option<&str>, format: Format) -> anyhow::Result<()> {
    if format.json {
        return output::json(&listed);
    }
    let default = default.map_or_else(String::new, |default| format!(": {default}"));
    if listed.is_empty() {
        output::note(&format!("no rules yet; egress.default decides{default}"));
        return Ok(());
    }
    let rows: Vec<[String; 7]> = listed.iter().map(row).collect();
    let headers = [
        "NUMBER", "WHO", "RULE", "HOSTS", "METHODS", "PATHS", "ACTIONS",
    ];
    output::print(&output::table(headers, &rows))?;
    output::note(&format!(
        "where no rule matches, egress.default decides{default}"
    ));
    Ok(())
}

fn row(rule: &views::EgressRule) -> [String; 7] {
    let any = |items: &[String]| match items {
        [] => "any".to_owned(),
        items => items.join(", "),
    };
    [
        rule.number.to_string(),
        rule.subject.clone(),
        rule.rule.to_string(),
        any(&rule.hosts),
        any(&rule.methods),
        any(&rule.paths),
        any(&rule.actions),
    ]
}
