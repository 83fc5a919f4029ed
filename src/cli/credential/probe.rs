//! `egret credential probe`: one request with the value that waits for its promotion.

use std::net::SocketAddr;

use clap::Args;
use http::Method;
use serde_json::json;

use super::target::Target;
use crate::cli::context::{Context, Session, actor};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::cli::own_client::OwnClient;
use crate::cli::remote::Remote;
use crate::cli::run::ProxyHandle;
use crate::cli::when;
use crate::environment::request::{Request, send};
use crate::substitution::slug::Slug;
use crate::tls::authority::Authority;
use crate::vault::{Kind, Principal, StoreError};
use crate::views;

/// How long the client of a probe may work, in seconds.
const LIFE: i64 = 120;
/// What the ledger calls the request.
const ACTION: &str = "credential-probe";

/// Send one request with the staged value of a credential, through the proxy and its ledger
///
/// Limits, scrubbing and the record are those of every request. Other requests go on using the value
/// in force. Prints the status of the answer, and nothing else of it. With --server that server sends it,
/// through its own proxy.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret credential probe github-pat GET https://api.github.com/user
  egret credential probe maps-key GET 'https://maps.example.com/v1?key=<<maps-key>>' -H 'Accept: */*'

Then: egret credential promote github-pat")]
pub(super) struct Probe {
    #[command(flatten)]
    target: Target,
    /// The method, such as GET
    #[arg(value_name = "METHOD")]
    method: Method,
    /// Where to: https://HOST/PATH; placeholders may be in it
    #[arg(value_name = "URL")]
    url: String,
    /// A header field; by default `Authorization: Bearer <<SLUG>>`, unless the URL holds a placeholder
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    #[command(flatten)]
    format: Format,
}

impl Probe {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (owner, slug) = self.target.parse(context)?;
        let view = match context.server() {
            Some(server) => self.probe_at(server, &owner, &slug).await?,
            None => self.probe_here(context, &owner, &slug).await?,
        };
        let version = view.version;
        output::data(self.format, &view, || match &view.code {
            Some(code) => format!("Egret refused the request with version {version}: {code}.\n"),
            None => format!(
                "Version {version} was sent; the answer has status {}.\n",
                view.status
            ),
        })
    }

    /// A server elsewhere sends it through its own proxy.
    async fn probe_at(
        &self,
        server: &Remote,
        owner: &Principal,
        slug: &Slug,
    ) -> anyhow::Result<views::Probe> {
        let path = format!("/credentials/{owner}/{slug}/versions/probe");
        let message = json!({
            "method": self.method.as_str(),
            "url": self.url,
            "headers": self.headers,
        });
        server.post(&path, &message).await
    }

    async fn probe_here(
        &self,
        context: &Context,
        owner: &Principal,
        slug: &Slug,
    ) -> anyhow::Result<views::Probe> {
        let config = context.load()?.config;
        let proxy = ProxyHandle::establish(&config).await?;
        let session = match Session::open(config.clone()).await {
            Ok(session) => session,
            Err(error) => {
                proxy.close(&config, false).await;
                return Err(error);
            }
        };
        let outcome = self.send(&session, proxy.address(), owner, slug).await;
        // Before the store is closed: the server still writes its last ledger lines.
        proxy.close(&config, true).await;
        session.finish().await?;
        outcome
    }

    async fn send(
        &self,
        session: &Session,
        proxy: SocketAddr,
        owner: &Principal,
        slug: &Slug,
    ) -> anyhow::Result<views::Probe> {
        let found = session.store.get(owner, slug).await?;
        let credential = found.ok_or_else(|| StoreError::NotFound {
            owner: owner.clone(),
            slug: slug.clone(),
        })?;
        let version = credential.staged_version().ok_or(StoreError::NoVersion(
            "no version is staged; `egret credential rotate SLUG --stage` saves one",
        ))?;
        let headers = self.headers(credential.kind, slug.as_str())?;
        let request = Request::new(&self.method, &self.url, headers);
        let request = request.map_err(|error| usage(error.to_string()))?;
        let client = OwnClient::add(&session.store, "probe-", owner, Some(when::now() + LIFE));
        let client = client.await?;
        let registrar = &session.registrar;
        let sent = match registrar.let_probe(&actor(), &client.name).await {
            Ok(()) => {
                let tls = &session.config.tls;
                let authority = Authority::load_or_create(&tls.ca_cert, &tls.ca_key)?;
                let token = client.token();
                let sent = send(&request, proxy, ACTION, &token, authority.cert_pem());
                sent.await.map_err(anyhow::Error::from)
            }
            Err(error) => Err(error.into()),
        };
        registrar.remove_client(&actor(), &client.name).await?;
        let answer = sent?;
        Ok(views::Probe {
            version,
            status: answer.status,
            code: answer.code,
        })
    }

    /// The header fields, or the usual one.
    fn headers(&self, kind: Kind, slug: &str) -> anyhow::Result<Vec<String>> {
        if !self.headers.is_empty() || self.url.contains("<<") {
            return Ok(self.headers.clone());
        }
        if kind != Kind::Secret {
            return Err(usage(
                "say where the value goes, such as -H 'Authorization: Basic <<SLUG.username>>:<<SLUG.password>>'",
            ));
        }
        Ok(vec![format!("Authorization: Bearer <<{slug}>>")])
    }
}
