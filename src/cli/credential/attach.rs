//! `egret credential attach` and `detach`.

use clap::Args;

use super::target::Target;
use crate::cli::context::{Context, actor};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::cli::remote::{Thing, message};
use crate::policy::attachment::Attachment;
use crate::policy::grant::{self, HostPattern, PathPrefix};
use crate::vault::CallerName;
use crate::views::{Attached, CredentialChange, CredentialDetails};

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
    clients: Vec<CallerName>,
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
        let (owner, slug) = self.target.parse(context)?;
        let rule = Attachment::of_line(&self.header).ok_or_else(|| {
            usage("--header is `NAME: VALUE`, such as \"Authorization: Bearer <<github-pat>>\"")
        })?;
        let rule = Attachment {
            hosts: self.hosts,
            methods: self.methods,
            paths: self.paths,
            clients: self.clients.iter().map(ToString::to_string).collect(),
            actions: self.actions,
            replace: self.replace,
            ..rule
        };
        let (number, changed) = match context.server() {
            Some(server) => attach_at(&server.credential(&owner, &slug), &rule).await?,
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let attached = registrar.attach(&actor(), &owner, &slug, rule).await?;
                session.finish().await?;
                attached
            }
        };
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

/// Attaches at a server elsewhere: the rule's number, and whether it is new.
async fn attach_at(thing: &Thing<'_>, rule: &Attachment) -> anyhow::Result<(u32, bool)> {
    let mut message = message::lists(&rule.hosts, None, &rule.methods, &rule.paths, &rule.actions);
    message["header"] = format!("{}: {}", rule.name, rule.value).into();
    message["clients"] = rule.clients.clone().into();
    message["replace"] = rule.replace.into();
    let made = thing.post("/attachments", &message).await?;
    let changed = made.changed;
    let after: CredentialDetails = made.view()?;
    let mut known = after.attachments.iter().rev();
    let known = known.find(|known| {
        known.header == format!("{}: {}", rule.name, rule.value)
            && known.hosts == message::texts(&rule.hosts)
            && known.methods == rule.methods
            && known.paths == message::texts(&rule.paths)
            && known.clients == rule.clients
            && known.actions == rule.actions
    });
    Ok((known.map_or(0, |known| known.number), changed))
}

impl Detach {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (owner, slug) = self.target.parse(context)?;
        let removed = match context.server() {
            Some(server) => {
                let thing = server.credential(&owner, &slug);
                detach_at(&thing, self.number).await?
            }
            None => {
                let session = context.open().await?;
                let registrar = &session.registrar;
                let removed = registrar
                    .detach(&actor(), &owner, &slug, self.number)
                    .await?;
                session.finish().await?;
                removed
            }
        };
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

/// Detaches at a server elsewhere: how many rules there were.
async fn detach_at(thing: &Thing<'_>, number: Option<u32>) -> anyhow::Result<usize> {
    let numbers: Vec<u32> = match number {
        Some(number) => vec![number],
        None => {
            let known: CredentialDetails = thing.show().await?;
            known.attachments.iter().map(|rule| rule.number).collect()
        }
    };
    for number in &numbers {
        thing.delete(&format!("/attachments/{number}")).await?;
    }
    Ok(numbers.len())
}
