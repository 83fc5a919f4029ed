//! `egret credential import`

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use zeroize::Zeroizing;

use super::choice::{self, Choice, shown};
use super::limits::join;
use super::target::Owner;
use crate::cli::context::{Context, Session, actor};
use crate::cli::output::{self, Format};
use crate::cli::remote::{Remote, segment};
use crate::import::{self, Proposal};
use crate::substitution::slug::Slug;
use crate::vault::Principal;
use crate::views;

/// Largest file, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Save the credentials of a file: .env, JSON, or an export of 1Password or Bitwarden
///
/// Without --save it shows what would be saved, and saves nothing. Hosts and places are proposed
/// from the catalogue of well-known services; an entry without hosts is not saved until --host names
/// them. A slug that is there already is skipped, unless --replace names it. The file stays as it is:
/// delete it afterwards. With --server it is read here, and only the values that are saved are sent.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret credential import .env
  egret credential import .env --save --host port=internal.example.com --skip node-env
  egret credential import export.csv --format csv --save
  sops -d secrets.json | egret credential import - --format json --save")]
pub(super) struct Import {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the file is: env, json or csv; told by its name by default
    #[arg(long, value_name = "FORMAT")]
    format: Option<import::Format>,
    #[command(flatten)]
    choice: Choice,
    /// Replace the value of a credential that is there, and leave its limits; repeatable
    #[arg(long, value_name = "SLUG", value_delimiter = ',')]
    replace: Vec<String>,
    #[command(flatten)]
    owner: Owner,
    /// Save what is complete
    #[arg(long)]
    save: bool,
    #[command(flatten)]
    output: Format,
}

/// The entries that can be saved.
fn complete<'a>(
    proposals: &'a mut [Proposal],
    fates: &'a mut [Fate],
) -> impl Iterator<Item = (&'a mut Proposal, &'a mut Fate)> {
    let pairs = proposals.iter_mut().zip(fates);
    pairs.filter(|(_, fate)| matches!(fate, Fate::Complete | Fate::Replaces))
}

/// What happens to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Complete,
    Saved,
    LacksHosts,
    Exists,
    Replaces,
    Replaced,
    Skipped,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Complete => "would be saved",
            Self::Saved => "saved",
            Self::LacksHosts => "needs --host",
            Self::Exists => "is there already",
            Self::Replaces => "would be replaced",
            Self::Replaced => "replaced",
            Self::Skipped => "skipped",
        }
    }
}

/// Saves what is complete in one change: all of it, or nothing. One by one, each entry would wait for the
/// disk, and a server would take each in by itself.
async fn save_together(
    session: &Session,
    owner: &Principal,
    proposals: &mut [Proposal],
    fates: &mut [Fate],
) -> anyhow::Result<()> {
    // First: whoever reads the notes may be slow, and other changes wait for this one.
    for (proposal, fate) in complete(proposals, fates) {
        if *fate == Fate::Complete {
            choice::say_remarks(proposal, &session.config);
        }
    }
    let together = session.registrar.together(&actor(), None).await?;
    for (proposal, fate) in complete(proposals, fates) {
        let (saved, done) = if *fate == Fate::Replaces {
            let replaced = choice::replace(&together, owner, proposal).await;
            (replaced, Fate::Replaced)
        } else {
            let saved = choice::save(&together, owner, proposal).await;
            (saved, Fate::Saved)
        };
        saved.with_context(|| choice::not_saved(&proposal.slug, choice::TOGETHER))?;
        *fate = done;
    }
    Ok(together.finish(&actor()).await?)
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let mut proposals = self.proposals()?;
        let owner = context.principal(self.owner.owner.clone())?;
        let fates = match context.server() {
            Some(server) => self.import_at(server, &owner, &mut proposals).await?,
            None => self.import_here(context, &owner, &mut proposals).await?,
        };
        self.show(&proposals, &fates)
    }

    /// What the file has, with what is decided about it.
    fn proposals(&self) -> anyhow::Result<Vec<Proposal>> {
        let content = self.content()?;
        let name = self.file.to_string_lossy();
        let format = self
            .format
            .unwrap_or_else(|| import::Format::of(&name, &content));
        let rows = format.read(&content)?;
        drop(content);
        ensure!(!rows.is_empty(), "the file has no entry with a value");
        let mut proposals = import::propose(rows, HashSet::new());
        let slugs = proposals.iter().map(|proposal| &proposal.slug);
        self.choice.check(slugs.clone())?;
        choice::check(&self.replace, slugs)?;
        self.choice.add_hosts(&mut proposals);
        Ok(proposals)
    }

    fn content(&self) -> anyhow::Result<Zeroizing<String>> {
        let mut content = Zeroizing::new(String::new());
        let reader: Box<dyn Read> = if self.file.as_os_str() == "-" {
            Box::new(std::io::stdin().lock())
        } else {
            Box::new(
                File::open(&self.file)
                    .with_context(|| format!("cannot open {}", self.file.display()))?,
            )
        };
        let read = reader.take(LARGEST + 1).read_to_string(&mut content);
        read.context("the file cannot be read as UTF-8 text")?;
        ensure!(
            content.len() as u64 <= LARGEST,
            "the file is larger than 16 MiB"
        );
        Ok(content)
    }

    async fn import_here(
        &self,
        context: &Context,
        owner: &Principal,
        proposals: &mut [Proposal],
    ) -> anyhow::Result<Vec<Fate>> {
        let session = context.open().await?;
        let slugs: Vec<Slug> = proposals.iter().map(|one| one.slug.clone()).collect();
        let known = session.store.taken(owner, &slugs).await?;
        let mut fates = self.fates(|slug| known.contains(slug), proposals);
        if self.save {
            save_together(&session, owner, proposals, &mut fates).await?;
            session.finish().await?;
        } else {
            session.store.close().await;
        }
        Ok(fates)
    }

    /// The same at a server elsewhere. The file is read here, so that no value goes there but those that
    /// are saved.
    async fn import_at(
        &self,
        server: &Remote,
        owner: &Principal,
        proposals: &mut [Proposal],
    ) -> anyhow::Result<Vec<Fate>> {
        let path = format!("/credentials?owner={}", segment(owner.as_str()));
        let known: Vec<views::Credential> = server.list(&path).await?;
        let known: HashSet<String> = known.into_iter().map(|one| one.slug).collect();
        let mut fates = self.fates(|slug| known.contains(slug.as_str()), proposals);
        if !self.save {
            return Ok(fates);
        }
        for (proposal, fate) in complete(proposals, &mut fates) {
            *fate = if *fate == Fate::Replaces {
                choice::replace_at(server, owner, proposal).await?;
                Fate::Replaced
            } else {
                choice::save_at(server, owner, proposal).await?;
                Fate::Saved
            };
        }
        Ok(fates)
    }

    fn fates(&self, is_known: impl Fn(&Slug) -> bool, proposals: &[Proposal]) -> Vec<Fate> {
        let fate = |proposal: &Proposal| {
            if self.choice.is_skipped(&proposal.slug) {
                Fate::Skipped
            } else if is_known(&proposal.slug) {
                match self
                    .replace
                    .iter()
                    .any(|slug| slug == proposal.slug.as_str())
                {
                    true => Fate::Replaces,
                    false => Fate::Exists,
                }
            } else if proposal.hosts.is_empty() {
                Fate::LacksHosts
            } else {
                Fate::Complete
            }
        };
        proposals.iter().map(fate).collect()
    }

    fn show(&self, proposals: &[Proposal], fates: &[Fate]) -> anyhow::Result<()> {
        let pairs = || proposals.iter().zip(fates);
        if self.output.json {
            let entry = |(proposal, fate): (&Proposal, &Fate)| views::ImportedEntry {
                line: proposal.row.line,
                slug: proposal.slug.to_string(),
                kind: proposal.row.kind.to_string(),
                service: proposal.service.map(|service| service.id.as_str()),
                hosts: proposal.hosts.iter().map(ToString::to_string).collect(),
                locations: proposal.locations.iter().map(ToString::to_string).collect(),
                fate: fate.name(),
            };
            return output::json(&pairs().map(entry).collect::<Vec<_>>());
        }
        let row = |(proposal, fate): (&Proposal, &Fate)| {
            [
                proposal.row.line.to_string(),
                proposal.slug.to_string(),
                proposal
                    .service
                    .map_or("-", |service| service.name.as_str())
                    .to_owned(),
                shown(&proposal.hosts),
                shown(&proposal.locations),
                fate.name().to_owned(),
            ]
        };
        let rows: Vec<_> = pairs().map(row).collect();
        let headers = ["LINE", "SLUG", "SERVICE", "HOSTS", "IN", ""];
        output::print(&output::table(headers, &rows))?;
        self.advise(proposals, fates);
        Ok(())
    }

    fn advise(&self, proposals: &[Proposal], fates: &[Fate]) {
        let with = |wanted: Fate| {
            proposals
                .iter()
                .zip(fates)
                .filter(move |(_, fate)| **fate == wanted)
        };
        if let Some((first, _)) = with(Fate::LacksHosts).next() {
            let hosts = first.service.map(|service| join(&service.hosts));
            let host = hosts.unwrap_or_else(|| "api.example.com".to_owned());
            output::note(&format!(
                "say where an entry may go, as with --host {}={host}",
                first.slug
            ));
        }
        if with(Fate::Complete)
            .chain(with(Fate::Replaces))
            .next()
            .is_some()
        {
            output::note("nothing is saved yet; add --save");
        }
        if with(Fate::Saved)
            .chain(with(Fate::Replaced))
            .next()
            .is_some()
        {
            output::note(
                "the file still holds the values: delete it when its programs use placeholders",
            );
        }
    }
}
