//! `egret credential attach` and `detach`.

use clap::Args;

use super::target::Target;
use crate::cli::context::{Context, actor};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::policy::attachment::Attachment;
use crate::policy::grant::{self, HostPattern, PathPrefix};
use crate::vault::ClientName;
use crate::views::{Attached, CredentialChange};

/// Set a header with a credential in requests that do not have it
///
/// For programs that can send no placeholder: git, docker and others send nothing before they were
/// asked for a password. The header is set in requests of the credential's owner to these hosts, where
/// the request has no such header, and never for TRACE and OPTIONS. A request that the rule, the
/// limits of the credential or the token do not cover goes on without it. The `use` line of the
/// ledger says `attached`.
///
/// Whoever can reach Egret as one of these clients then uses the credential without naming it: narrow
/// the rule with --method, --path, --client and --action.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret credential attach github-pat --host github.com --path /acme \\
    --header 'Authorization: Basic x-access-token:<<github-pat>>'
  egret credential attach crm --host crm.example.com --client ci --header 'X-Api-Key: <<crm>>'

The user name and password of Basic are written in base64. `egret credential show` lists the rules,
`egret explain` says what they do to a request.")]
pub(super) struct Attach {
    #[command(flatten)]
    target: Target,
    /// Hosts whose requests get the header; repeatable
    #[arg(
        long = "host",
        value_name = "HOST",
        value_delimiter = ',',
        required = true
    )]
    hosts: Vec<HostPattern>,
    /// The header, with the placeholder of the credential
    // Not parsed by clap, which would quote back what could be a value.
    #[arg(long, value_name = "NAME: VALUE")]
    header: String,
    /// Only requests with these methods
    #[arg(long = "method", value_name = "METHOD", value_delimiter = ',', value_parser = grant::parse_method)]
    methods: Vec<String>,
    /// Only paths with these prefixes
    #[arg(long = "path", value_name = "PREFIX", value_parser = grant::parse_path)]
    paths: Vec<PathPrefix>,
    /// Only requests of these clients; by default of all that act for the owner
    #[arg(long = "client", value_name = "CLIENT")]
    clients: Vec<ClientName>,
    /// Only requests for these actions
    #[arg(long = "action", value_name = "ACTION", value_parser = grant::parse_action)]
    actions: Vec<String>,
    /// Replace the header where the client sends one
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    format: Format,
}

/// Stop setting a header with a credential, from the next request on
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret credential detach github-pat --number 1
  egret credential detach github-pat --all")]
pub(super) struct Detach {
    #[command(flatten)]
    target: Target,
    /// The number that `attach` and `show` print
    #[arg(long, value_name = "NUMBER", required_unless_present = "all")]
    number: Option<u32>,
    /// Everything that is attached
    #[arg(long, conflicts_with = "number")]
    all: bool,
    #[command(flatten)]
    format: Format,
}

impl Attach {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (owner, slug) = self.target.parse()?;
        let owner = owner.clone();
        let (name, value) = self.header.split_once(':').ok_or_else(|| {
            usage("--header is `NAME: VALUE`, such as \"Authorization: Bearer <<github-pat>>\"")
        })?;
        let rule = Attachment {
            number: 0,
            name: name.trim().to_ascii_lowercase(),
            value: value.trim().to_owned(),
            hosts: self.hosts,
            methods: self.methods,
            paths: self.paths,
            clients: self.clients.iter().map(ToString::to_string).collect(),
            actions: self.actions,
            replace: self.replace,
        };
        let session = context.open().await?;
        let (number, changed) = session
            .registrar
            .attach(&actor(), &owner, &slug, rule)
            .await?;
        session.finish().await?;
        let view = Attached {
            changed,
            slug: slug.as_str(),
            number,
        };
        output::data(self.format, &view, || {
            if changed {
                format!(
                    "{slug} is attached, as number {number}. `egret credential detach {slug} --number {number}` undoes it.\n"
                )
            } else {
                format!("{slug} is attached so already, as number {number}.\n")
            }
        })
    }
}

impl Detach {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (owner, slug) = self.target.parse()?;
        let session = context.open().await?;
        let removed = session
            .registrar
            .detach(&actor(), owner, &slug, self.number)
            .await?;
        session.finish().await?;
        let view = CredentialChange {
            changed: removed > 0,
            slug: slug.as_str(),
        };
        output::data(self.format, &view, || match removed {
            0 => format!("Nothing was attached of {slug}.\n"),
            _ => format!("Detached {slug}: {removed} of its rules.\n"),
        })
    }
}
