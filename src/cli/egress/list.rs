//! `egret egress list`.

use crate::cli::context::Context;
use crate::cli::output::{self, Format};
use crate::views;

pub(super) async fn run(context: &Context, format: Format) -> anyhow::Result<()> {
    let session = context.open().await?;
    let rules = session.store.list_egress().await?;
    session.store.close().await;
    let listed: Vec<_> = rules
        .iter()
        .map(|(number, entry)| views::EgressRule::new(*number, entry))
        .collect();
    if format.json {
        return output::json(&listed);
    }
    let default = session.config.egress.rules.default.as_str();
    if listed.is_empty() {
        output::note(&format!("no rules yet; egress.default is {default}"));
        return Ok(());
    }
    let rows: Vec<[String; 7]> = listed.iter().map(row).collect();
    let headers = [
        "NUMBER", "WHO", "RULE", "HOSTS", "METHODS", "PATHS", "ACTIONS",
    ];
    output::print(&output::table(headers, &rows))?;
    output::note(&format!(
        "where no rule matches, egress.default decides: {default}"
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
        rule.rule.to_owned(),
        any(&rule.hosts),
        any(&rule.methods),
        any(&rule.paths),
        any(&rule.actions),
    ]
}
