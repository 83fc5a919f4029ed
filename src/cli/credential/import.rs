//! `egret credential import`

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Args;
use zeroize::Zeroizing;

use super::choice::{Choice, shown};
use super::limits::join;
use crate::cli::context::{Context, Session};
use crate::cli::output::{self, Format};
use crate::import::{self, Proposal};
use crate::views;

/// Largest file, in bytes.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Save the credentials of a file: .env, JSON, or an export of 1Password or Bitwarden
///
/// Without --save it shows what would be saved, and saves nothing. Hosts and places are proposed
/// from the catalogue of well-known services; an entry without hosts is not saved until --host names
/// them. A slug that is there already is skipped. The file stays as it is: delete it afterwards.
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
    /// Save what is complete
    #[arg(long)]
    save: bool,
    #[command(flatten)]
    output: Format,
}

/// What happens to an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Complete,
    Saved,
    LacksHosts,
    Exists,
    Skipped,
}

impl Fate {
    fn name(self) -> &'static str {
        match self {
            Self::Complete => "would be saved",
            Self::Saved => "saved",
            Self::LacksHosts => "needs --host",
            Self::Exists => "is there already",
            Self::Skipped => "skipped",
        }
    }
}

impl Import {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        context.only_here()?;
        let content = self.content()?;
        let name = self.file.to_string_lossy();
        let format = self
            .format
            .unwrap_or_else(|| import::Format::of(&name, &content));
        let rows = format.read(&content)?;
        drop(content);
        ensure!(!rows.is_empty(), "the file has no entry with a value");
        let mut proposals = import::propose(rows, HashSet::new());
        self.choice
            .check(proposals.iter().map(|proposal| &proposal.slug))?;
        self.choice.add_hosts(&mut proposals);

        let session = context.open().await?;
        let mut fates = self.fates(&session, &proposals).await?;
        if self.save {
            self.save(&session, &mut proposals, &mut fates).await?;
            session.finish().await?;
        } else {
            session.store.close().await;
        }
        self.show(&proposals, &fates)
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

    async fn fates(&self, session: &Session, proposals: &[Proposal]) -> anyhow::Result<Vec<Fate>> {
        let known = self.choice.taken(session).await?;
        let fate = |proposal: &Proposal| {
            if self.choice.is_skipped(&proposal.slug) {
                Fate::Skipped
            } else if known.contains(proposal.slug.as_str()) {
                Fate::Exists
            } else if proposal.hosts.is_empty() {
                Fate::LacksHosts
            } else {
                Fate::Complete
            }
        };
        Ok(proposals.iter().map(fate).collect())
    }

    async fn save(
        &self,
        session: &Session,
        proposals: &mut [Proposal],
        fates: &mut [Fate],
    ) -> anyhow::Result<()> {
        for (proposal, fate) in proposals.iter_mut().zip(fates) {
            if *fate != Fate::Complete {
                continue;
            }
            self.choice.save(session, proposal).await?;
            *fate = Fate::Saved;
        }
        Ok(())
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
        if with(Fate::Complete).next().is_some() {
            output::note("nothing is saved yet; add --save");
        }
        if with(Fate::Saved).next().is_some() {
            output::note(
                "the file still holds the values: delete it when its programs use placeholders",
            );
        }
    }
}
