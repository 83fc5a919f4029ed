//! `egret request` and `egret requests`: credentials that are not there.

use clap::{Args, Subcommand};
use serde_json::json;

use super::context::{Context, actor};
use super::credential::target::parse_slug;
use super::output::{self, Format};
use super::remote::{Remote, ServerArgs, message};
use super::{value, when};
use crate::policy::grant::{Grant, HostPattern};
use crate::policy::location::LocationRule;
use crate::vault::key_request::{KEPT, KeyRequest, readable_reason};
use crate::vault::{ClientName, Kind, NewCredential, Principal, StoreError};
use crate::views;

/// Ask for a credential that is not there
///
/// The owner sees slug, host, place and reason, and saves the value or declines. A request is kept for
/// seven days.
#[derive(Args)]
#[command(after_help = "\
Example:
  egret request github-pat --host api.github.com --reason 'to read the issues of the project'")]
pub(super) struct Ask {
    /// The slug that requests will name
    #[arg(value_name = "SLUG")]
    slug: String,
    /// Where it is needed
    #[arg(long, value_name = "HOST")]
    host: HostPattern,
    /// In which place of a request
    #[arg(long = "in", value_name = "LOCATION")]
    place: Option<LocationRule>,
    /// What for
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    reason: String,
    /// The client that needs it
    #[arg(long, value_name = "CLIENT", default_value = "cli")]
    client: ClientName,
    /// Who would own it
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    owner: Principal,
    #[command(flatten)]
    format: Format,
}

impl Ask {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let now = when::now();
        let request = KeyRequest {
            owner: self.owner,
            client: self.client.to_string(),
            slug: parse_slug(&self.slug)?,
            host: self.host,
            place: self.place,
            reason: readable_reason(&self.reason),
            asked: now,
            until: now.saturating_add(KEPT),
            is_declined: false,
            is_saved: false,
        };
        let session = context.open().await?;
        let number = session.registrar.ask_key(&actor(), &request).await?;
        session.finish().await?;
        let view = views::KeyRequest::new(number, &request);
        output::data(self.format, &view, || {
            format!(
                "Request {number}: {} is asked for {} at {}.\n",
                request.owner, request.slug, request.host
            )
        })
    }
}

/// Answer requests for credentials that are not there
#[derive(Args)]
pub(super) struct Requests {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List what is asked for
    #[command(visible_alias = "ls", after_help = "Example:\n  egret requests list")]
    List(Format),
    /// Save the credential that is asked for
    ///
    /// Slug, host and place are those of the request. The value is read as by `egret credential add`.
    #[command(after_help = "Example:\n  egret requests save 12")]
    Save(Named),
    /// Decline a request
    #[command(after_help = "Example:\n  egret requests decline 12")]
    Decline(Named),
}

#[derive(Args)]
struct Named {
    /// The request's number
    #[arg(value_name = "NUMBER")]
    number: i64,
    #[command(flatten)]
    format: Format,
}

impl Requests {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let context = &context.at(&self.server).await?;
        match self.command {
            Command::List(format) => list(context, format).await,
            Command::Save(named) => named.save(context).await,
            Command::Decline(named) => named.decline(context).await,
        }
    }
}

impl Named {
    async fn save(self, context: &Context) -> anyhow::Result<()> {
        let number = self.number;
        if let Some(server) = context.server() {
            return self.save_at(server).await;
        }
        let session = context.open().await?;
        let mut all = session.store.list_key_requests().await?;
        let request = all
            .remove(&number)
            .filter(|request| request.is_open(when::now()))
            .ok_or(StoreError::KeyRequestNotFound(number))?;
        let value = value::read(Kind::Secret, request.slug.as_str())?;
        let mut grant = Grant::for_hosts(vec![request.host.clone()]);
        if let Some(place) = &request.place {
            grant.locations = vec![place.clone()];
        }
        let new = NewCredential {
            owner: request.owner.clone(),
            slug: request.slug.clone(),
            kind: Kind::Secret,
            description: request.reason.clone(),
            grant,
            rotate_every: None,
        };
        let version = session.registrar.add(&actor(), new, value).await?;
        session.registrar.answer_key(&actor(), number).await?;
        session.finish().await?;
        let view = views::CredentialVersion {
            owner: request.owner.as_str(),
            slug: request.slug.as_str(),
            version,
        };
        output::data(self.format, &view, || {
            format!("Saved {} for {}.\n", request.slug, request.host)
        })
    }

    /// The same at a server elsewhere.
    async fn save_at(self, server: &Remote) -> anyhow::Result<()> {
        let path = format!("/requests/{}", self.number);
        let request: views::KeyRequest = server.get(&path).await?;
        let value = value::read(Kind::Secret, &request.slug)?;
        let message = json!({ "value": message::value(Kind::Secret, &value)? });
        let saved: views::CredentialDetails =
            server.post(&format!("{path}/save"), &message).await?;
        let view = views::CredentialVersion {
            owner: &saved.credential.owner,
            slug: &saved.credential.slug,
            version: saved.credential.version,
        };
        output::data(self.format, &view, || {
            format!("Saved {} for {}.\n", request.slug, request.host)
        })
    }

    async fn decline(self, context: &Context) -> anyhow::Result<()> {
        let number = self.number;
        match context.server() {
            Some(server) => {
                let path = format!("/requests/{number}/decline");
                let _: views::KeyRequest = server.post(&path, &json!({})).await?;
            }
            None => {
                let session = context.open().await?;
                session.registrar.decline_key(&actor(), number).await?;
                session.finish().await?;
            }
        }
        let view = views::KeyRequestChange { number };
        output::data(self.format, &view, || {
            format!("Request {number} is declined.\n")
        })
    }
}

async fn list(context: &Context, format: Format) -> anyhow::Result<()> {
    let listed: Vec<views::KeyRequest> = match context.server() {
        Some(server) => {
            let mut listed: Vec<views::KeyRequest> = server.list("/requests").await?;
            listed.retain(|request| request.state != "saved");
            listed
        }
        None => {
            let session = context.open().await?;
            let mut requests = session.store.list_key_requests().await?;
            session.store.close().await;
            let now = when::now();
            requests.retain(|_, request| now < request.until && !request.is_saved);
            let requests = requests.iter();
            requests
                .map(|(number, request)| views::KeyRequest::new(*number, request))
                .collect()
        }
    };
    if format.json {
        return output::json(&listed);
    }
    if listed.is_empty() {
        output::note("nothing is asked for");
        return Ok(());
    }
    let rows: Vec<[String; 6]> = listed.iter().map(row).collect();
    let headers = ["NUMBER", "CREDENTIAL", "HOST", "CLIENT", "REASON", "STATE"];
    output::print(&output::table(headers, &rows))
}

fn row(request: &views::KeyRequest) -> [String; 6] {
    [
        request.number.to_string(),
        request.slug.clone(),
        request.host.clone(),
        output::printable(&request.client),
        output::printable(&request.reason),
        request.state.to_string(),
    ]
}
