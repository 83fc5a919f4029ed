//! `egret approvals`: owners answer about uses of their credentials.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, actor};
use super::output::{self, Format};
use super::remote::{ServerArgs, segment};
use super::when;
use crate::vault::approval::Verdict;
use crate::views;

/// Answer requests that wait for your yes
///
/// A credential with --approve asks its owner. The request waits for a time (approvals.wait), and gets
/// through when it is sent again after a yes.
#[derive(Args)]
pub(super) struct Approvals {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what waits for an answer, and what was answered
    #[command(visible_alias = "ls", after_help = "Example:\n  egret approvals list")]
    List(Format),
    /// Say yes to a request, once or from now on
    ///
    /// Once is for exactly this request. --always is for its client, action and destination.
    #[command(after_help = "\
Examples:
  egret approvals allow req-5f3a9c21-12-github-pat
  egret approvals allow req-5f3a9c21-12-github-pat --always")]
    Allow(Allow),
    /// Say no
    #[command(after_help = "Example:\n  egret approvals deny req-5f3a9c21-12-github-pat")]
    Deny(Named),
    /// Take a yes back, from the next request on
    #[command(after_help = "Example:\n  egret approvals remove req-5f3a9c21-12-github-pat")]
    Remove(Named),
}

#[derive(Args)]
struct Allow {
    #[command(flatten)]
    named: Named,
    /// Also for later requests of this client and action to this destination
    #[arg(long)]
    always: bool,
}

#[derive(Args)]
struct Named {
    /// The question, as the list shows it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    format: Format,
}

impl Approvals {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::List(format) => list(context, format).await,
            Command::Allow(allow) => {
                let verdict = if allow.always {
                    Verdict::Always
                } else {
                    Verdict::Once
                };
                allow.named.answer(context, verdict).await
            }
            Command::Deny(named) => named.answer(context, Verdict::No).await,
            Command::Remove(named) => named.remove(context).await,
        }
    }
}

impl Named {
    async fn answer(self, context: &Context, verdict: Verdict) -> anyhow::Result<()> {
        let view = match context.server() {
            Some(server) => {
                let path = format!("/approvals/{}/answer", segment(&self.id));
                let message = json!({ "answer": verdict.as_str() });
                server.post(&path, &message).await?
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let approval = registrar
                    .answer_approval(&actor(), &self.id, verdict)
                    .await?;
                session.finish().await?;
                views::Approval::new(&self.id, &approval)
            }
        };
        output::data(self.format, &view, || {
            let (slug, client, host) = (&view.slug, &view.client, &view.destination);
            match verdict {
                Verdict::Once => format!("{client} may use {slug} for this request, once.\n"),
                Verdict::Always => format!(
                    "{client} may use {slug} for the action {} at {host} from now on.\n",
                    view.action
                ),
                Verdict::No => format!("{client} may not use {slug} for this request.\n"),
            }
        })
    }

    async fn remove(self, context: &Context) -> anyhow::Result<()> {
        match context.server() {
            Some(server) => {
                let path = format!("/approvals/{}", segment(&self.id));
                server.delete(&path).await?;
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                registrar.remove_approval(&actor(), &self.id).await?;
                session.finish().await?;
            }
        }
        let id = self.id.as_str();
        output::data(self.format, &views::ApprovalChange { id }, || {
            format!("{id} is removed.\n")
        })
    }
}

async fn list(context: &Context, format: Format) -> anyhow::Result<()> {
    let listed: Vec<views::Approval> = match context.server() {
        Some(server) => server.list("/approvals").await?,
        None => {
            let session = context.open().await?;
            let mut approvals = session.store.list_approvals().await?;
            session.store.close().await;
            let now = when::now();
            approvals.retain(|_, approval| approval.is_kept(now));
            let approvals = approvals.iter();
            approvals
                .map(|(id, approval)| views::Approval::new(id, approval))
                .collect()
        }
    };
    if format.json {
        return output::json(&listed);
    }
    if listed.is_empty() {
        output::note("nothing waits for an answer");
        return Ok(());
    }
    let rows: Vec<[String; 5]> = listed.iter().map(row).collect();
    let headers = ["ID", "CREDENTIAL", "WHO", "WHAT", "ANSWER"];
    output::print(&output::table(headers, &rows))
}

fn row(approval: &views::Approval) -> [String; 5] {
    let run = approval.run.iter().map(|run| format!(", run {run}"));
    let who = format!(
        "{} for {} ({}{})",
        approval.client,
        approval.principal,
        approval.action,
        run.collect::<String>()
    );
    let body = approval.body.iter().map(|body| format!(", {body}"));
    let what = format!(
        "{} {}{} in {}{}",
        approval.method,
        approval.destination,
        approval.path,
        approval.places.join(", "),
        body.collect::<String>()
    );
    [
        approval.id.clone(),
        approval.slug.clone(),
        output::printable(&who),
        output::printable(&what),
        approval.answer.as_deref().unwrap_or("waits").to_owned(),
    ]
}
