//! `egret credential stand-in`.

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::target::Target;
use crate::cli::context::{Context, Session, actor};
use crate::cli::exit::usage;
use crate::cli::output::{self, Format};
use crate::cli::remote::{Thing, message, segment};
use crate::policy::grant::HostPattern;
use crate::services::stand_in::{Kind, RANDOM, like, of_hosts};
use crate::substitution::slug::Slug;
use crate::vault::{Principal, StoreError};
use crate::views::{self, CredentialChange, CredentialDetails};

/// Print a text that looks like the key and means the placeholder
///
/// For programs that check what a key looks like and refuse `<<slug>>`. Wherever the text is in a
/// request of the credential's owner, the value takes its place, under the limits of the credential;
/// answers get the text back. It is no secret: in requests of others it is refused, and so it is once it
/// was taken back.
///
/// Without --like it looks like the keys of the well-known service that the credential's hosts belong
/// to. Asked again, the command prints the same text.
#[derive(Args)]
#[command(after_help = "\
Examples:
  GITHUB_TOKEN=$(egret credential stand-in github-pat) egret run -- gh api user
  egret credential stand-in crm --like uuid
  egret credential stand-in github-pat --revoke ghp_EGRET...")]
pub(super) struct StandIn {
    #[command(flatten)]
    target: Target,
    /// What it looks like: how such keys begin (ghp_, sk-ant-, AKIA, xoxb-), or jwt or uuid
    #[arg(long, value_name = "PREFIX")]
    like: Option<String>,
    /// Make another one, though there is one that looks so
    #[arg(long)]
    new: bool,
    /// Take this one back
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["like", "new"])]
    revoke: Option<String>,
    #[command(flatten)]
    format: Format,
}

impl StandIn {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let (owner, slug) = self.target.parse(context)?;
        if let Some(server) = context.server() {
            return self.at(&server.credential(&owner, &slug), &slug).await;
        }
        let session = context.open().await?;
        if let Some(text) = &self.revoke {
            let registrar = &session.registrar;
            let changed = registrar
                .revoke_stand_in(&actor(), &owner, &slug, text)
                .await?;
            session.finish().await?;
            return self.taken_back(&slug, changed);
        }
        let text = self.text(&session, &owner, &slug).await?;
        session.finish().await?;
        self.say(&slug, &text)
    }

    fn say(&self, slug: &Slug, text: &str) -> anyhow::Result<()> {
        let slug = slug.as_str();
        output::data(self.format, &views::StandIn { slug, text }, || {
            format!("{text}\n")
        })
    }

    fn taken_back(&self, slug: &Slug, changed: bool) -> anyhow::Result<()> {
        let slug = slug.as_str();
        let text = "Taken back: requests that hold it are refused from now on.\n";
        output::data(self.format, &CredentialChange { changed, slug }, || {
            text.to_owned()
        })
    }

    /// The same at a server elsewhere.
    async fn at(&self, thing: &Thing<'_>, slug: &Slug) -> anyhow::Result<()> {
        if let Some(text) = &self.revoke {
            let below = format!("/stand-ins/{}", segment(text));
            let changed = thing.delete(&below).await?.changed;
            return self.taken_back(slug, changed);
        }
        let known: CredentialDetails = thing.show().await?;
        let hosts = message::parsed(&known.credential.hosts)?;
        let kind = self.kind(&hosts)?;
        let mut made = known.stand_ins.iter();
        if !self.new
            && let Some(text) = made.find(|text| kind.made(text))
        {
            return self.say(slug, text);
        }
        let message = json!({ "like": self.like });
        let after: CredentialDetails = thing.post("/stand-ins", &message).await?.view()?;
        let mut new = after.stand_ins.iter().rev();
        let new = new.find(|text| !known.stand_ins.contains(text));
        self.say(slug, new.context("the server made none")?)
    }

    /// One that is there, or a new one.
    async fn text(
        &self,
        session: &Session,
        owner: &Principal,
        slug: &Slug,
    ) -> anyhow::Result<String> {
        let found = session.store.get(owner, slug).await?;
        let credential = found.ok_or_else(|| StoreError::NotFound {
            owner: owner.clone(),
            slug: slug.clone(),
        })?;
        let kind = self.kind(&credential.grant.hosts)?;
        let mut known = credential
            .stand_ins
            .iter()
            .filter(|known| known.revoked.is_none());
        if !self.new
            && let Some(known) = known.find(|known| kind.made(&known.text))
        {
            return Ok(known.text.clone());
        }
        let mut random = [0; RANDOM];
        aws_lc_rs::rand::fill(&mut random).context("no randomness")?;
        let text = kind.make(&random);
        let registrar = &session.registrar;
        registrar
            .add_stand_in(&actor(), owner, slug, text.clone())
            .await?;
        Ok(text)
    }

    fn kind(&self, hosts: &[HostPattern]) -> anyhow::Result<Kind> {
        if let Some(prefix) = &self.like {
            return like(prefix).ok_or_else(|| {
                usage(
                    "no keys are known that begin so; try ghp_, sk-ant-, AKIA, xoxb-, jwt or uuid",
                )
            });
        }
        Ok(of_hosts(hosts))
    }
}
