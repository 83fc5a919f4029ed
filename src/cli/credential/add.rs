//! `egret credential add`

use clap::Args;

use super::limits::{Limits, describe, seconds};
use super::remarks;
use super::services;
use super::target::{Owner, parse_slug};
use super::uses::Uses;
use crate::cli::context::{Context, actor};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::cli::remote::{Remote, message};
use crate::cli::value::{self, NoArgument};
use crate::policy::grant::HostPattern;
use crate::secret::SecretBytes;
use crate::services::{Service, ServiceKind};
use crate::vault::{Kind, NewCredential};
use crate::views::{CredentialDetails, CredentialVersion};

/// Save a credential and say where it may be used
///
/// The value is read from standard input, or asked for at a prompt that does not show it. It is
/// never an argument, and no command prints it. One newline at its end is removed.
#[derive(Args)]
#[command(after_help = "\
Examples:
  Ask for the value, allow it in any header for one host:
    egret credential add github-pat --host api.github.com

  Pipe it in, allow it in one query parameter, for reading only:
    printf %s \"$KEY\" | egret credential add maps-key --host maps.example.com \\
        --in query:key --method GET

  A key of a well-known service, which brings its hosts and its place:
    egret credential add github-pat --service github

  A user name and a password, used as <<crm.username>> and <<crm.password>>:
    egret credential add crm --kind login --host crm.example.com

  Several fields, as JSON:
    egret credential add oauth --kind fields --host id.example.com --in body < fields.json

Then put <<github-pat>> where the value belongs, and run the program with `egret run`.")]
pub(super) struct Add {
    /// The public name: 1 to 64 of a-z, 0-9, '-' and '_', starting with a letter
    #[arg(value_name = "SLUG")]
    slug: String,
    /// Hosts that may receive it
    ///
    /// api.example.com, or *.example.com for exactly one more label: https on port 443.
    /// api.example.com:8443 for another port; http://api.example.com to allow it unencrypted.
    /// Repeatable.
    #[arg(
        long = "host",
        value_name = "HOST",
        required_unless_present = "service",
        value_delimiter = ','
    )]
    hosts: Vec<HostPattern>,
    /// A well-known service: proposes hosts, place and kind, and says when a key looks wrong
    ///
    /// `egret credential services` lists them. --host, --in and --kind take precedence.
    #[arg(long, value_name = "SERVICE", value_parser = services::parse)]
    service: Option<&'static Service>,
    #[command(flatten)]
    limits: Limits,
    #[command(flatten)]
    uses: Uses,
    /// What shape the value has: secret, login or fields
    ///
    /// `secret` is one value, `<<slug>>`. `login` is `<<slug.username>>` and `<<slug.password>>`.
    /// `fields` is a JSON object of strings, `<<slug.NAME>>`.
    /// [default: secret]
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// A remark for people
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    description: String,
    /// How old the value may become before it is due to be replaced: 90d
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    rotate_every: Option<std::time::Duration>,
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    format: Format,
    #[command(flatten)]
    no_value: NoArgument,
}

impl Add {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        self.no_value
            .check("egret credential add SLUG --host HOST")?;
        let slug = parse_slug(&self.slug)?;
        let kind = self.kind();
        let hosts = self.hosts()?;
        let mut limits = self.limits;
        if let (Some(service), true) = (self.service, limits.locations.is_empty()) {
            limits.locations.push(service.location());
        }
        let mut grant = limits.into_grant(hosts);
        grant.uses = self.uses.change(grant.uses).for_new();
        let owner = context.principal(self.owner.owner)?;
        let new = NewCredential {
            owner,
            slug,
            kind,
            description: self.description,
            grant,
            rotate_every: self.rotate_every.map(seconds),
        };
        let version = match context.server() {
            Some(server) => add_at(server, &new, self.service).await?,
            None => add_here(context, &new, self.service).await?,
        };
        let view = CredentialVersion {
            owner: new.owner.as_str(),
            slug: new.slug.as_str(),
            version,
        };
        output::data(self.format, &view, || saved(&new, version))
    }
}

/// Saves it in the store of this machine.
async fn add_here(
    context: &Context,
    new: &NewCredential,
    service: Option<&'static Service>,
) -> anyhow::Result<u32> {
    // What can fail without the value fails before it is asked for.
    let session = context.open().await?;
    session.say_if_new(&new.owner).await?;
    let value = value::read(new.kind, new.slug.as_str())?;
    remarks::say(new.kind, &value, service, &new.grant.hosts);
    remarks::say_passed_through(&new.grant.hosts, &session.config);
    let registrar = &session.registrar;
    let version = registrar.add(&actor(), new.clone(), value).await?;
    session.finish().await?;
    Ok(version)
}

/// Saves it at a server elsewhere.
async fn add_at(
    server: &Remote,
    new: &NewCredential,
    service: Option<&'static Service>,
) -> anyhow::Result<u32> {
    let value = value::read(new.kind, new.slug.as_str())?;
    send(server, new, service, &value).await
}

/// Sends it to a server elsewhere, which makes its first version.
pub(super) async fn send(
    server: &Remote,
    new: &NewCredential,
    service: Option<&'static Service>,
    value: &SecretBytes,
) -> anyhow::Result<u32> {
    let mut message = message::limits(&new.grant);
    message["value"] = message::value(new.kind, value)?;
    message["kind"] = new.kind.as_str().into();
    message["description"] = new.description.as_str().into();
    message["rotate_every"] = new.rotate_every.into();
    message["service"] = service.map(|service| service.id.as_str()).into();
    let path = format!("/credentials/{}/{}", new.owner, new.slug);
    let saved: CredentialDetails = server.create(&path, &message).await?;
    saved.remarks.iter().for_each(|remark| output::note(remark));
    Ok(saved.credential.version)
}

impl Add {
    fn kind(&self) -> Kind {
        let of_service = |service: &Service| match service.kind {
            ServiceKind::Secret => Kind::Secret,
            ServiceKind::Login => Kind::Login,
        };
        self.kind
            .unwrap_or_else(|| self.service.map_or(Kind::Secret, of_service))
    }

    fn hosts(&self) -> anyhow::Result<Vec<HostPattern>> {
        let Some(service) = self.service else {
            return Ok(self.hosts.clone());
        };
        service.hosts(&self.hosts).map_err(|blank| {
            let name = &service.name;
            usage(format!(
                "{name} gives each customer a host of its own: say which one is yours, as in --host {}",
                blank[0]
            ))
        })
    }
}

fn saved(new: &NewCredential, version: u32) -> String {
    let placeholder = match new.kind {
        Kind::Secret => format!("<<{}>>", new.slug),
        Kind::Login => format!("<<{0}.username>> and <<{0}.password>>", new.slug),
        Kind::Fields => format!("<<{}.FIELD>>", new.slug),
    };
    let mut text = format!(
        "Saved {} (version {version}, owner {}). Use {placeholder}:\n",
        new.slug, new.owner
    );
    for (name, limit) in describe(&new.grant) {
        text.push_str(&format!("  {name:9} {limit}\n"));
    }
    text
}
