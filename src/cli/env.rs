//! `egret env`: the variables of `egret run`, for a shell, and configurations for assistants.

mod container;
mod wrapper;

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use clap::Args;
use zeroize::Zeroizing;

use self::container::{Container, Runner};
use self::wrapper::{Assistant, Server};
use super::child::quote::Shell;
use super::context::{Context, Session, authority};
use super::output::{self, Format};
use super::own_client::OwnClient;
use super::{server, when};
use crate::config::Config;
use crate::environment::inherited::{self, TOKEN_VARIABLE};
use crate::environment::proxy_access::{Login, ProxyAccess};
use crate::environment::trust::TrustFiles;
use crate::environment::variables::{self, Changes};
use crate::policy::destination::{Destination, Scheme};
use crate::policy::grant;
use crate::vault::Principal;
use crate::views::{self, Environment};

/// Print the variables that `egret run` sets, for a shell or a file
///
/// For a shell in which many commands use a running `egret serve`. If EGRET_TOKEN is set, that token
/// is used (from `egret client add` or `egret token mint`). Otherwise a new client is added, whose
/// token works for --ttl; `egret client remove` ends it sooner.
///
/// The output contains the token: do not put it where others can read it.
///
/// With --container it prints what a service of Docker Compose or a container of a pod needs. That holds
/// no token: Compose takes it from EGRET_TOKEN, Kubernetes from a Secret. The container has to have the
/// files of `egret ca export`.
///
/// With --for it prints the MCP configuration of an assistant, in which `egret run` starts the server
/// that follows `--`. That holds no token: `egret run` makes its own.
#[derive(Args)]
#[command(after_help = "\
Examples:
  eval \"$(egret env)\"
  egret env --shell fish | source
  egret env --shell powershell | Out-String | Invoke-Expression
  EGRET_TOKEN=egc_… egret env --shell dotenv > .env
  egret env --container compose --action nightly > compose.override.yaml
  egret env --for claude --action github-mcp -- npx -y @modelcontextprotocol/server-github > .mcp.json")]
pub(super) struct Env {
    /// The shell or file to print for
    #[arg(long, value_enum, default_value_t = Shell::Sh)]
    shell: Shell,
    /// Print the MCP configuration of this assistant instead
    #[arg(
        long = "for",
        value_enum,
        value_name = "ASSISTANT",
        requires = "command"
    )]
    assistant: Option<Assistant>,
    /// Print what a container needs instead
    #[arg(long, value_enum, value_name = "RUNNER", conflicts_with = "assistant")]
    container: Option<Runner>,
    /// With --container: where the container reaches the proxy
    #[arg(
        long,
        value_name = "HOST:PORT",
        default_value = "egret:7070",
        value_parser = parse_proxy,
        requires = "container"
    )]
    proxy: (String, u16),
    /// With --container: where it has the files of `egret ca export`
    #[arg(
        long,
        value_name = "DIRECTORY",
        default_value = "/usr/local/share/egret",
        requires = "container"
    )]
    trust: String,
    /// With --for: run the server with --isolate
    #[arg(long, requires = "assistant")]
    isolate: bool,
    /// Whose credentials a new client may use
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    principal: Principal,
    /// What the ledger calls the requests
    #[arg(long, default_value = "shell", value_parser = grant::parse_action)]
    action: String,
    /// How long the token of a new client works
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    ttl: when::Lifetime,
    /// Hosts to reach without the proxy; repeatable
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    no_proxy: Vec<String>,
    #[command(flatten)]
    format: Format,
    /// With --for: the MCP server and its arguments
    #[arg(last = true, requires = "assistant", value_name = "COMMAND")]
    command: Vec<String>,
}

impl Env {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        if let Some(assistant) = self.assistant {
            let server = Server {
                name: &self.action,
                is_isolated: self.isolate,
                command: &self.command,
            };
            return output::print(&server.configuration(assistant));
        }
        let config = context.load()?.config;
        if let Some(runner) = self.container {
            let container = Container {
                action: &self.action,
                proxy: (&self.proxy.0, self.proxy.1),
                trust: &self.trust,
                direct: &variables::direct(&config, &self.no_proxy),
            };
            return output::print(&container.configuration(runner)?);
        }
        let address = proxy_address(&config)?;
        authority(&config)?;
        let inherited = inherited::inherited();
        let trust = TrustFiles::write(&config.data_dir, &config.tls.ca_cert, &inherited)?;
        let login = Login {
            action: self.action.clone(),
            token: self.token(config.clone()).await?,
        };
        let access = ProxyAccess::at(address, Some(login));
        let direct = variables::direct(&config, &self.no_proxy);
        let changes = variables::changes(&access, &trust, &direct, &inherited);
        if self.format.json {
            return output::json(&Environment {
                set: texts(&changes)?.into_iter().collect(),
                unset: &changes.remove,
            });
        }
        output::print(&to_script(&changes, self.shell)?)
    }

    async fn token(&self, config: Config) -> anyhow::Result<Zeroizing<String>> {
        if let Some(token) = std::env::var_os(TOKEN_VARIABLE).filter(|token| !token.is_empty()) {
            return given_token(token.to_str());
        }
        let expires = self.ttl.end(when::now());
        when::check_lifetime(Some(expires), config.proxy.max_token_lifetime, "--ttl")?;
        let session = Session::open(config).await?;
        let principal = &self.principal;
        let client = OwnClient::add(&session.store, "env-", principal, Some(expires)).await?;
        session.finish().await?;
        output::note(&format!(
            "added client {0}, until {1}; `egret client remove {0}` ends it sooner",
            client.name,
            views::rfc3339(expires)
        ));
        Ok(client.token())
    }
}

/// Checks a token from outside: it is put into a URL as it is.
fn given_token(token: Option<&str>) -> anyhow::Result<Zeroizing<String>> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    match token {
        Some(token) if token.bytes().all(unreserved) => Ok(Zeroizing::new(token.to_owned())),
        _ => bail!("{TOKEN_VARIABLE} does not hold a token of Egret's (egc_… or ega_…)"),
    }
}

/// The name and port of a proxy that another machine reaches.
fn parse_proxy(text: &str) -> Result<(String, u16), String> {
    let expected = || "expected HOST:PORT".to_owned();
    let destination = Destination::from_authority(Scheme::Http, text).map_err(|_| expected())?;
    if !text.ends_with(&format!(":{}", destination.port)) {
        return Err(expected());
    }
    Ok((destination.host.to_string(), destination.port))
}

fn proxy_address(config: &Config) -> anyhow::Result<SocketAddr> {
    if let Some(file) = server::live(&config.data_dir) {
        return Ok(file.proxy);
    }
    if config.proxy.listen.port() == 0 {
        bail!(
            "no server is running, and proxy.listen is on port 0, which picks a free one; start \
             `egret serve` first"
        );
    }
    output::note("no server is running on this data directory yet; start one with `egret serve`");
    Ok(config.proxy.listen)
}

/// The variables as text: a path in another encoding could not be printed exactly.
fn texts(changes: &Changes) -> anyhow::Result<Vec<(&str, &str)>> {
    changes
        .set
        .iter()
        .map(|(name, value)| {
            let text = value
                .to_str()
                .with_context(|| format!("{name} would not be UTF-8"))?;
            Ok((name.as_str(), text))
        })
        .collect()
}

fn to_script(changes: &Changes, shell: Shell) -> anyhow::Result<String> {
    let removed = changes.remove.iter().filter_map(|name| shell.remove(name));
    let set = texts(changes)?;
    let set = set.iter().map(|(name, value)| shell.assign(name, value));
    Ok(removed.chain(set).map(|line| line + "\n").collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes() -> Changes {
        Changes {
            set: vec![("A".to_owned(), "it's".into())],
            remove: vec!["B".to_owned()],
        }
    }

    #[test]
    fn a_script_removes_what_would_lead_past_the_proxy() {
        let script = to_script(&changes(), Shell::Sh).expect("text");
        assert_eq!(script, "unset B\nexport A='it'\\''s'\n");
        assert_eq!(
            to_script(&changes(), Shell::DotEnv).expect("text"),
            "A=\"it's\"\n"
        );
    }

    #[test]
    fn what_cannot_stand_in_a_url_is_no_token() {
        assert!(given_token(Some("egc_abc-_~.")).is_ok());
        for text in [Some("a@evil"), Some("a b"), Some("%41"), None] {
            assert!(given_token(text).is_err(), "{text:?}");
        }
    }
}
