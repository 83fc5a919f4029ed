//! `egret egress check`: what becomes of a request; and what a new rule would end.

use clap::Args;
use http::Uri;

use crate::cli::context::{Context, Session};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::cli::remote::segment;
use crate::cli::when;
use crate::config::Config;
use crate::ledger::went::{self, Ended, Kind, LOOK_BACK};
use crate::policy::destination::{Destination, Scheme};
use crate::policy::egress::Asked;
use crate::policy::grant;
use crate::vault::cache::{EgressRoute, UnverifiedRule};
use crate::vault::egress::EgressChange;
use crate::vault::{CallerName, Keyring, Principal, Vault};
use crate::views;

/// Say what becomes of a request, and which rule decides
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret egress check https://api.github.com/repos/a/b --client ci
  egret egress check https://api.github.com/repos/a/b --client ci --method DELETE")]
pub(super) struct Check {
    /// The address of the request
    #[arg(value_name = "URL")]
    url: Uri,
    /// The client that sends it
    #[arg(long, value_name = "CLIENT")]
    client: CallerName,
    /// The client's user, where the store does not know the client
    #[arg(long, value_name = "USER", default_value = "default")]
    user: Principal,
    /// The method
    #[arg(long, value_name = "METHOD", default_value = "GET", value_parser = grant::parse_method)]
    method: String,
    /// The action
    #[arg(
        long,
        value_name = "ACTION",
        default_value = "",
        hide_default_value = true
    )]
    action: String,
    #[command(flatten)]
    format: Format,
}

impl Check {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let destination = destination(&self.url)?;
        if let Some(server) = context.server() {
            let view: views::EgressCheck = server.get(&self.path()).await?;
            return show(&view, self.format);
        }
        let config = context.load()?.config;
        let vault = open_vault(&config).await?;
        let registered = self.client.registered();
        let client = registered.and_then(|name| vault.client(&name, when::now()));
        let principal = client.map_or(self.user, |client| client.principal.clone());
        let operator = &config.egress.rules;
        let asked = Asked {
            method: &self.method,
            path: self.url.path(),
            action: &self.action,
        };
        let route = EgressRoute {
            principal: &principal,
            client: self.client.as_str(),
            destination: &destination,
            asked,
        };
        let decision = vault.egress_decision(&route, operator);
        vault.store().close().await;
        let decision = decision.map_err(unverified)?;
        let view = views::EgressCheck::new(&decision);
        show(&view, self.format)
    }

    /// The question to a server elsewhere.
    fn path(&self) -> String {
        let query = [
            ("url", self.url.to_string()),
            ("client", self.client.to_string()),
            ("user", self.user.to_string()),
            ("method", self.method.clone()),
            ("action", self.action.clone()),
        ];
        let query = query.map(|(name, value)| format!("{name}={}", segment(&value)));
        format!("/destinations/check?{}", query.join("&"))
    }
}

fn show(view: &views::EgressCheck, format: Format) -> anyhow::Result<()> {
    output::data(format, view, || {
        format!("{}: {} decides.\n", view.decision, view.by)
    })
}

async fn open_vault(config: &Config) -> anyhow::Result<Vault> {
    let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
    Ok(Vault::open(&config.data_dir, &config.store.url, &keyring).await?)
}

fn unverified(_: UnverifiedRule) -> anyhow::Error {
    anyhow::anyhow!(
        "a rule was changed in the store by something that is not Egret; `egret store check` names \
         it, and `egret egress remove` removes it"
    )
}

fn destination(url: &Uri) -> anyhow::Result<Destination> {
    let scheme = url.scheme_str().and_then(Scheme::named);
    let scheme =
        scheme.ok_or_else(|| usage("write the whole address: https://api.example.com/path"))?;
    let authority = url.authority().map_or("", |authority| authority.as_str());
    Destination::from_authority(scheme, authority).map_err(|error| usage(error.to_string()))
}

/// What clients did in the last seven days that other rules would refuse, a line for each client and
/// destination.
pub(in crate::cli) async fn newly_refused(
    session: &Session,
    change: &EgressChange,
) -> anyhow::Result<Vec<String>> {
    let config = &session.config;
    let dir = config.ledger_dir();
    let did = went::recent(&dir, when::now() - LOOK_BACK, Kind::WentThrough)?;
    let vault = open_vault(config).await?;
    let mut ended = Ended::default();
    for (seen, last) in did {
        let (Some(destination), Ok(principal)) =
            (seen.destination(), Principal::parse(&seen.principal))
        else {
            continue;
        };
        let route = EgressRoute {
            principal: &principal,
            client: &seen.client,
            destination: &destination,
            asked: seen.asked(),
        };
        let closed = vault.would_close(&route, &config.egress.rules, change);
        if closed.map_err(unverified)? {
            ended.add(&seen.client, &destination, last);
        }
    }
    vault.store().close().await;
    Ok(ended.lines())
}
