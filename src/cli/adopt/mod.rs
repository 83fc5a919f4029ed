//! `egret adopt`: keys that lie in files of programs are saved, and placeholders are put in their place.

mod ask;
mod backup;
mod entry;
mod file;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use self::entry::{Entry, Fate, places};
use self::file::Opened;
use super::context::{Context, Session};
use super::credential::choice::{self, Choice, shown};
use super::output::{self, Format};
use super::usable::{Usable, usable};
use super::when;
use crate::import::programs::{IN_HOME, IN_PROJECT, ProgramFile};
use crate::vault::{Principal, Vault};
use crate::views;

/// Save the keys that lie in files of programs, and put placeholders in their place
///
/// Looked at are .netrc, .git-credentials, hosts.yml of gh, .npmrc, config.json of docker, credentials of AWS and
/// cargo, the configuration of kubectl, .pypirc and pip.conf in the home directory, and .env in the
/// working directory; or the files that are named. For each key a slug and hosts are proposed, from the
/// file and from the catalogue of well-known services.
///
/// At a terminal it asks about each key. Otherwise, and with --json, it shows what it found and changes
/// nothing, unless --yes is given. A file is replaced as a whole, keeps its mode, and nothing in it is
/// changed but the keys. Its old content is kept in Egret's directory, with the keys, until
/// --remove-backups removes it.
///
/// Programs that read such a file have to run with `egret run` from then on. Keys with which a program signs requests
/// (AWS), and keys of client certificates, stay as they are.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret adopt
  egret adopt --yes --skip ghcr-io
  egret adopt --yes --host api-key=api.example.com .env
  egret adopt --json
  egret adopt --remove-backups")]
pub(super) struct Adopt {
    /// The files to look at; by default those in the usual places
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Do it for every key whose hosts are known, and ask nothing
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    choice: Choice,
    /// The principal that owns the credentials
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    owner: Principal,
    /// Remove the old content of files that were adopted
    #[arg(long, conflicts_with_all = ["files", "yes", "hosts", "skip"])]
    remove_backups: bool,
    #[command(flatten)]
    output: Format,
}

impl Adopt {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        if self.remove_backups {
            let removed = backup::remove(&context.load()?.config.data_dir)?;
            return output::data(self.output, &views::Removed { removed }, || {
                format!("Removed {}.\n", output::count(removed, "old file"))
            });
        }
        let files = self.open()?;
        let session = context.open().await?;
        let saved = self.saved(&session).await?;
        let taken = choice::taken(&session, &self.owner).await?;
        let mut entries = entry::collect(&files, &saved, taken);
        self.decide(&mut entries)?;
        if entries.is_empty() {
            session.store.close().await;
            return self.show(&files, &entries, Vec::new());
        }
        let is_asking = ask::may_ask() && !self.yes && !self.output.json;
        let mut chosen: Vec<usize> = Vec::new();
        if is_asking {
            chosen = ask::each(&files, &mut entries)?;
        } else if self.yes {
            let is_ready = |entry: &Entry| matches!(entry.fate, Fate::Complete | Fate::Known);
            chosen = (0..entries.len())
                .filter(|&index| is_ready(&entries[index]))
                .collect();
        }
        if chosen.is_empty() {
            session.store.close().await;
            return self.show(&files, &entries, Vec::new());
        }
        let changed = self.adopt(&session, &files, &mut entries, &chosen).await;
        session.finish().await?;
        self.show(&files, &entries, changed?)
    }

    /// What the owner has saved already.
    async fn saved(&self, session: &Session) -> anyhow::Result<Vec<Usable>> {
        let config = &session.config;
        let vault = Vault::open(&config.data_dir, &config.store.url, &session.keyring).await?;
        let saved = usable(&vault, &self.owner, when::now());
        vault.store().close().await;
        Ok(saved)
    }

    /// The files with keys.
    fn open(&self) -> anyhow::Result<Vec<Opened>> {
        let mut files: Vec<Opened> = Vec::new();
        if self.files.is_empty() {
            for (path, kind) in usual() {
                match Opened::read(&path, kind) {
                    Ok(file) => files.extend(file),
                    Err(error) => output::note(&format!("{}: {error:#}", path.display())),
                }
            }
        }
        for path in &self.files {
            let name = output::printable(&path.to_string_lossy());
            let absolute = std::path::absolute(path)?;
            let kind = ProgramFile::at(&absolute.to_string_lossy());
            let kind =
                kind.with_context(|| format!("{name} is of no kind that is known by its name"))?;
            let file =
                Opened::read(path, kind).with_context(|| format!("{name} cannot be read"))?;
            files.push(file.with_context(|| format!("there is no {name}"))?);
        }
        // Two names of one file would be two changes, of which the first is lost.
        let mut seen = std::collections::HashSet::new();
        files.retain(|file| seen.insert(file.path.clone()));
        Ok(files)
    }

    /// Applies the options.
    fn decide(&self, entries: &mut [Entry]) -> anyhow::Result<()> {
        self.choice
            .check(entries.iter().map(|entry| &entry.proposal.slug))?;
        for entry in entries {
            self.choice
                .add_hosts(std::slice::from_mut(&mut entry.proposal));
            entry.fate = match entry.fate {
                Fate::Stays(reason) => Fate::Stays(reason),
                _ if self.choice.is_skipped(&entry.proposal.slug) => Fate::Skipped,
                Fate::LacksHosts if !entry.proposal.hosts.is_empty() => Fate::Complete,
                fate => fate,
            };
        }
        Ok(())
    }

    /// Saves the chosen keys, and then writes the files. Returns the old content of each.
    async fn adopt(
        &self,
        session: &Session,
        files: &[Opened],
        entries: &mut [Entry],
        chosen: &[usize],
    ) -> anyhow::Result<Vec<views::KeptFile>> {
        let mut changes: Vec<Vec<(usize, String)>> = vec![Vec::new(); files.len()];
        for &index in chosen {
            let entry = &mut entries[index];
            for place in &entry.places {
                changes[place.file].push((place.spot, entry.placeholder()));
            }
            if entry.known.is_none() {
                let proposal = &mut entry.proposal;
                choice::say_remarks(proposal, &session.config);
                let saved = choice::save(&session.registrar, &self.owner, proposal).await;
                saved.with_context(|| choice::not_saved(&proposal.slug, choice::ONE_BY_ONE))?;
            }
        }
        let mut kept = Vec::new();
        for (file, changes) in files.iter().zip(changes) {
            if changes.is_empty() {
                continue;
            }
            let backup = backup::keep(&session.config.data_dir, file)?;
            if file.replace(&changes)? {
                output::note(&format!(
                    "{} still holds one of the keys, where no program reads it (in a comment?)",
                    file.shown
                ));
            }
            kept.push(views::KeptFile {
                file: file.path.display().to_string(),
                backup: backup.display().to_string(),
            });
        }
        for &index in chosen {
            entries[index].fate = Fate::Adopted;
        }
        Ok(kept)
    }

    fn show(
        &self,
        files: &[Opened],
        entries: &[Entry],
        kept: Vec<views::KeptFile>,
    ) -> anyhow::Result<()> {
        if self.output.json {
            let entries = entries.iter().map(|entry| view(files, entry)).collect();
            return output::json(&views::Adoption { entries, kept });
        }
        if entries.is_empty() {
            let looked_at = output::count(files.len() as u64, "file");
            return output::print(&format!("No keys found in {looked_at}.\n"));
        }
        if !ask::may_ask() || self.yes {
            let rows: Vec<_> = entries.iter().map(|entry| row(files, entry)).collect();
            let headers = ["WHERE", "SLUG", "SERVICE", "HOSTS", ""];
            output::print(&output::table(headers, &rows))?;
        }
        advise(files, entries, &kept);
        Ok(())
    }
}

/// The usual places.
fn usual() -> Vec<(PathBuf, ProgramFile)> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let in_home = home.iter().flat_map(|home| {
        let places = IN_HOME.iter();
        places.map(|(place, kind)| (home.join(place), *kind))
    });
    let project = (Path::new(IN_PROJECT).to_owned(), ProgramFile::Dotenv);
    in_home.chain(std::iter::once(project)).collect()
}

fn row(files: &[Opened], entry: &Entry) -> [String; 5] {
    let proposal = &entry.proposal;
    let is_new = entry.known.is_none() && !matches!(entry.fate, Fate::Stays(_));
    let service = proposal.service.filter(|_| is_new);
    [
        output::printable(&places(files, entry)),
        match entry.fate {
            Fate::Stays(_) => "-".to_owned(),
            _ => entry.placeholder().trim_matches(['<', '>']).to_owned(),
        },
        service.map_or("-", |service| &service.name).to_owned(),
        if is_new {
            shown(&proposal.hosts)
        } else {
            "-".to_owned()
        },
        entry.fate.text(),
    ]
}

fn view<'a>(files: &'a [Opened], entry: &'a Entry) -> views::AdoptedEntry<'a> {
    let place = |place: &entry::Place| views::KeyPlace {
        file: files[place.file].path.display().to_string(),
        line: files[place.file].spots[place.spot].row.line,
    };
    let proposal = &entry.proposal;
    let stays = match entry.fate {
        Fate::Stays(reason) => Some(reason),
        _ => None,
    };
    views::AdoptedEntry {
        places: entry.places.iter().map(place).collect(),
        placeholder: stays.is_none().then(|| entry.placeholder()),
        service: proposal.service.map(|service| service.id.as_str()),
        hosts: proposal.hosts.iter().map(ToString::to_string).collect(),
        locations: proposal.locations.iter().map(ToString::to_string).collect(),
        fate: entry.fate.name(),
        reason: stays,
    }
}

fn advise(files: &[Opened], entries: &[Entry], kept: &[views::KeptFile]) {
    let with = |fate: Fate| entries.iter().find(|entry| entry.fate == fate);
    if let Some(entry) = with(Fate::LacksHosts) {
        output::note(&format!(
            "say where a key may go, as with --host {}=api.example.com",
            entry.proposal.slug
        ));
    }
    if kept.is_empty() {
        if with(Fate::Complete).or(with(Fate::Known)).is_some() {
            output::note("nothing is changed; add --yes");
        }
        return;
    }
    for file in kept {
        output::note(&format!("the old {} is {}", file.file, file.backup));
    }
    output::note(
        "they hold the keys: when your programs work, `egret adopt --remove-backups` removes them. \
         To go back, copy one to its place",
    );
    let adopted = entries.iter().filter(|entry| entry.fate == Fate::Adopted);
    let spots = adopted.flat_map(|entry| &entry.places);
    let remarks = spots.filter_map(|place| files[place.file].spots[place.spot].remark);
    for remark in remarks.collect::<std::collections::BTreeSet<_>>() {
        output::note(remark);
    }
    output::note("start the programs that read these files with `egret run`");
}
