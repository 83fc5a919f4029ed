//! What is decided about the entries of files before they are saved: hosts, and which are left out.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;

use super::limits::join;
use super::target::parse_slug;
use super::{add, remarks};
use crate::cli::context::{Session, actor};
use crate::cli::remote::{Remote, message};
use crate::config::Config;
use crate::import::Proposal;
use crate::policy::grant::{Grant, HostPattern};
use crate::secret::SecretBytes;
use crate::substitution::slug::Slug;
use crate::vault::registrar::RegistrarError;
use crate::vault::rotation::Retention;
use crate::vault::{NewCredential, Principal, Registrar};

/// What is decided about entries of files.
#[derive(Args)]
pub(in crate::cli) struct Choice {
    /// Hosts for an entry; repeatable
    #[arg(long = "host", value_name = "SLUG=HOST", value_parser = parse_host)]
    hosts: Vec<(String, HostPattern)>,
    /// Leave an entry out; repeatable
    #[arg(long, value_name = "SLUG", value_delimiter = ',')]
    skip: Vec<String>,
}

fn parse_host(text: &str) -> Result<(String, HostPattern), String> {
    let (slug, host) = text.split_once('=').ok_or("write SLUG=HOST")?;
    let host = HostPattern::from_str(host).map_err(|error| error.to_string())?;
    Ok((slug.to_owned(), host))
}

/// A list, or that there is nothing in it.
pub(in crate::cli) fn shown<T: ToString>(list: &[T]) -> String {
    if list.is_empty() {
        "-".to_owned()
    } else {
        join(list)
    }
}

impl Choice {
    /// Whether an entry is left out.
    pub(in crate::cli) fn is_skipped(&self, slug: &Slug) -> bool {
        self.skip.iter().any(|skip| skip == slug.as_str())
    }

    /// Refuses a choice about an entry that is not there.
    pub(in crate::cli) fn check<'a>(
        &self,
        slugs: impl Iterator<Item = &'a Slug> + Clone,
    ) -> anyhow::Result<()> {
        check(
            self.hosts.iter().map(|(slug, _)| slug).chain(&self.skip),
            slugs,
        )
    }

    /// Puts the hosts that were given in place of those that are proposed.
    pub(in crate::cli) fn add_hosts(&self, proposals: &mut [Proposal]) {
        let mut given: BTreeMap<&str, Vec<HostPattern>> = BTreeMap::new();
        for (slug, host) in &self.hosts {
            given.entry(slug).or_default().push(host.clone());
        }
        for proposal in proposals {
            if let Some(hosts) = given.remove(proposal.slug.as_str()) {
                proposal.hosts = hosts;
            }
        }
    }
}

/// Refuses what is chosen about an entry that is not there.
pub(super) fn check<'a, 'b>(
    chosen: impl IntoIterator<Item = &'a String>,
    slugs: impl Iterator<Item = &'b Slug> + Clone,
) -> anyhow::Result<()> {
    for chosen in chosen {
        parse_slug(chosen)?;
        if !slugs.clone().any(|slug| slug.as_str() == chosen) {
            bail!("no entry becomes {chosen}; without further options the slugs are shown");
        }
    }
    Ok(())
}

/// All slugs that the owner has already.
pub(in crate::cli) async fn taken(
    session: &Session,
    owner: &Principal,
) -> anyhow::Result<HashSet<String>> {
    let known = session.store.list(Some(owner)).await?;
    let verified = known.credentials.into_iter().map(|one| one.slug);
    let unverified = known.unverified.into_iter().map(|(_, slug)| slug);
    let slugs = verified.chain(unverified);
    Ok(slugs.map(|slug| slug.to_string()).collect())
}

/// Says what may be a mistake about an entry that is going to be saved.
pub(in crate::cli) fn say_remarks(proposal: &Proposal, config: &Config) {
    let Proposal { row, hosts, .. } = proposal;
    remarks::say(row.kind, &row.value, None, hosts);
    remarks::say_passed_through(hosts, config);
}

/// Saves an entry, whose value is moved out of it.
pub(in crate::cli) async fn save(
    registrar: &Registrar,
    owner: &Principal,
    proposal: &mut Proposal,
) -> Result<(), RegistrarError> {
    let (new, value) = chosen(owner, proposal);
    registrar.add(&actor(), new, value).await?;
    Ok(())
}

/// The same at a server elsewhere.
pub(super) async fn save_at(
    server: &Remote,
    owner: &Principal,
    proposal: &mut Proposal,
) -> anyhow::Result<()> {
    let (new, value) = chosen(owner, proposal);
    let saved = add::send(server, &new, None, &value).await;
    saved.with_context(|| not_saved(&proposal.slug, ONE_BY_ONE))?;
    Ok(())
}

/// Puts the value of an entry in the place of the one that is there. It is moved out of the entry.
pub(super) async fn replace(
    registrar: &Registrar,
    owner: &Principal,
    proposal: &mut Proposal,
) -> Result<(), RegistrarError> {
    let value = std::mem::replace(&mut proposal.row.value, SecretBytes::new(Vec::new()));
    let (actor, keep) = (actor(), Retention::default());
    registrar
        .rotate(&actor, owner, &proposal.slug, value, keep)
        .await?;
    Ok(())
}

/// The same at a server elsewhere.
pub(super) async fn replace_at(
    server: &Remote,
    owner: &Principal,
    proposal: &mut Proposal,
) -> anyhow::Result<()> {
    let value = std::mem::replace(&mut proposal.row.value, SecretBytes::new(Vec::new()));
    let message = json!({ "value": message::value(proposal.row.kind, &value)? });
    let thing = server.credential(owner, &proposal.slug);
    let rotated = thing.post("/versions", &message).await;
    rotated.with_context(|| not_saved(&proposal.slug, ONE_BY_ONE))?;
    Ok(())
}

/// What is said of the others, where each entry is a change of its own.
pub(in crate::cli) const ONE_BY_ONE: &str = "those before it are";
/// The same where all are one change.
pub(super) const TOGETHER: &str = "nor is any other";

pub(in crate::cli) fn not_saved(slug: &Slug, others: &str) -> String {
    format!("{slug} cannot be saved; {others}")
}

/// What is saved of an entry. The value is moved out of it.
fn chosen(owner: &Principal, proposal: &mut Proposal) -> (NewCredential, SecretBytes) {
    let mut grant = Grant::for_hosts(proposal.hosts.clone());
    if !proposal.locations.is_empty() {
        grant.locations = proposal.locations.clone();
    }
    let new = NewCredential {
        owner: owner.clone(),
        slug: proposal.slug.clone(),
        kind: proposal.row.kind,
        description: String::new(),
        grant,
        rotate_every: None,
    };
    let value = std::mem::replace(&mut proposal.row.value, SecretBytes::new(Vec::new()));
    (new, value)
}
