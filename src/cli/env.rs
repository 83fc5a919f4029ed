//! `egret env`: the variables of `egret run`, for a shell, and configurations for assistants.

mod container;
mod target;
mod wrapper;

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use clap::Args;
use zeroize::Zeroizing;

use self::container::{Container, Runner};
use self::target::Target;
use self::wrapper::Server;
use super::child::quote::Shell;
use super::context::{Context, Session, authority};
use super::exit::usage;
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
/// For compose, kubernetes and n8n it prints what a service of Docker Compose or a container of a pod needs.
/// That holds no token: Compose takes it from EGRET_TOKEN, Kubernetes from a Secret. The container has to
/// have the files of `egret ca export`.
///
/// For mcp and the assistants it prints an MCP configuration in which `egret run` starts the server that
/// follows `--`. That holds no token: `egret run` makes its own. A data directory and a configuration that
/// an option or a variable names are named there too, since assistants filter the environment.
#[derive(Args)]
#[command(after_help = "\
Examples:
  eval \"$(egret env)\"
  egret env --format fish | source
  egret env --format powershell | Out-String | Invoke-Expression
  EGRET_TOKEN=egc_… egret env --format dotenv > .env
  egret env --format compose --action nightly > compose.override.yaml
  egret env --format claude --action github-mcp -- npx -y @modelcontextprotocol/server-github > .mcp.json")]
pub(super) struct Env {
    /// The shell, the file, the assistant or the container to print for
    // The aliases are the options that this one was before.
    #[arg(
        long = "format",
        aliases = ["shell", "for", "container"],
        value_enum,
        value_name = "FORMAT",
        default_value_t = Target::Shell(Shell::Sh)
    )]
    target: Target,
    /// For a container: where it reaches the proxy; egret:7070 by default
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_proxy)]
    proxy: Option<(String, u16)>,
    /// For a container: where it has the files of `egret ca export`; /usr/local/share/egret by default
    #[arg(long, value_name = "DIRECTORY")]
    trust: Option<String>,
    /// For an assistant: run the server with --isolate
    #[arg(long)]
    isolate: bool,
    /// Whose credentials a new client may use
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    principal: Principal,
    /// What the ledger calls the requests; by default `shell`, or `n8n` for that
    #[arg(long, value_parser = grant::parse_action)]
    action: Option<String>,
    /// How long the token of a new client works
    #[arg(long, value_name = "DURATION", default_value = "12h")]
    ttl: when::Lifetime,
    /// Hosts to reach without the proxy; repeatable
    #[arg(long, value_name = "HOST", value_delimiter = ',')]
    no_proxy: Vec<String>,
    #[command(flatten)]
    format: Format,
    /// For an assistant: the MCP server and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

impl Env {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        self.check()?;
        match self.target {
            Target::Assistant(assistant) => {
                let server = Server {
                    name: self.action(),
                    places: &context.named_places()?,
                    is_isolated: self.isolate,
                    command: &self.command,
                };
                output::print(&server.configuration(assistant))
            }
            Target::Container(runner) => self.container(context, runner),
            Target::Shell(shell) => self.shell(context, shell).await,
        }
    }

    /// Refuses options that mean nothing for what is printed.
    fn check(&self) -> anyhow::Result<()> {
        let (for_container, for_assistant) = match self.target {
            Target::Shell(_) => (false, false),
            Target::Container(_) => (true, false),
            Target::Assistant(_) => (false, true),
        };
        if for_assistant && self.command.is_empty() {
            return Err(usage("name the MCP server after `--`"));
        }
        if !for_assistant && (self.isolate || !self.command.is_empty()) {
            return Err(usage(
                "--isolate and a command are for the MCP server of an assistant: --format mcp, claude, \
                 codex, gemini or vscode",
            ));
        }
        if !for_container && (self.proxy.is_some() || self.trust.is_some()) {
            return Err(usage(
                "--proxy and --trust are for containers: --format compose, kubernetes or n8n",
            ));
        }
        if (for_assistant || for_container) && self.format.json {
            return Err(usage(
                "--json prints variables: it goes with a shell or dotenv",
            ));
        }
        Ok(())
    }

    /// What the ledger calls the requests.
    fn action(&self) -> &str {
        let default = match self.target {
            Target::Container(Runner::N8n) => "n8n",
            _ => "shell",
        };
        self.action.as_deref().unwrap_or(default)
    }

    fn container(&self, context: &Context, runner: Runner) -> anyhow::Result<()> {
        let config = context.load()?.config;
        let proxy = self.proxy.as_ref();
        let container = Container {
            action: self.action(),
            proxy: proxy.map_or(("egret", 7070), |(host, port)| (host.as_str(), *port)),
            trust: self.trust.as_deref().unwrap_or("/usr/local/share/egret"),
            direct: &variables::direct(&config, &self.no_proxy),
        };
        output::print(&container.configuration(runner)?)
    }

    async fn shell(&self, context: &Context, shell: Shell) -> anyhow::Result<()> {
        let config = context.load()?.config;
        let address = proxy_address(&config)?;
        authority(&config)?;
        let inherited = inherited::inherited();
        let trust = TrustFiles::write(&config.data_dir, &config.tls.ca_cert, &inherited)?;
        let login = Login {
            action: self.action().to_owned(),
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
        output::print(&to_script(&changes, shell)?)
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
