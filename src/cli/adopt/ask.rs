//! The questions at a terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::Context as _;

use super::entry::{Entry, Fate, places};
use super::file::Opened;
use crate::cli::credential::choice::shown;
use crate::cli::output;
use crate::policy::grant::HostPattern;

/// Whether there is somebody to ask.
pub(super) fn may_ask() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Asks about each key, and returns those that are to be adopted. What was answered with `q`, and what
/// comes after it, stays.
pub(super) fn each(files: &[Opened], entries: &mut [Entry]) -> anyhow::Result<Vec<usize>> {
    let mut chosen = Vec::new();
    for (index, entry) in entries.iter_mut().enumerate() {
        let place = output::printable(&places(files, entry));
        match entry.fate {
            Fate::Stays(reason) => println!("{place}: stays, because {reason}."),
            Fate::Skipped | Fate::Adopted => {}
            Fate::LacksHosts => {
                println!("{place}: a key whose hosts are not known.");
                let Some(hosts) = hosts(entry.proposal.slug.as_str())? else {
                    continue;
                };
                entry.proposal.hosts = hosts;
                entry.fate = Fate::Complete;
                chosen.push(index);
            }
            Fate::Complete | Fate::Known => {
                let placeholder = entry.placeholder();
                let question = if entry.known.is_some() {
                    format!("{place}: a key that is saved. Write {placeholder} in its place?")
                } else {
                    let service = entry.proposal.service.map(|service| service.name.as_str());
                    format!(
                        "{place}: {} for {}. Save it, and write {placeholder} in its place?",
                        service.map_or("a key".to_owned(), |name| format!("a key of {name}")),
                        shown(&entry.proposal.hosts)
                    )
                };
                match line(&format!("{question} [y/N/q] "))?.as_str() {
                    "y" | "Y" | "yes" => chosen.push(index),
                    "q" | "Q" => break,
                    _ => entry.fate = Fate::Skipped,
                }
            }
        }
    }
    Ok(chosen)
}

/// The hosts of a key; none if nothing is typed.
fn hosts(slug: &str) -> anyhow::Result<Option<Vec<HostPattern>>> {
    loop {
        let answer = line(&format!(
            "Save it as {slug} for these hosts (nothing leaves it as it is): "
        ))?;
        if answer.is_empty() || answer == "q" {
            return Ok(None);
        }
        let words = answer.split([',', ' ']).filter(|word| !word.is_empty());
        match words
            .map(str::parse::<HostPattern>)
            .collect::<Result<Vec<_>, _>>()
        {
            Ok(hosts) => return Ok(Some(hosts)),
            Err(error) => println!("{error}"),
        }
    }
}

fn line(question: &str) -> anyhow::Result<String> {
    print!("{question}");
    io::stdout().flush()?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    let read = read.context("cannot read from the terminal")?;
    // The end of the input is a no to all that follows.
    Ok(if read == 0 {
        "q".to_owned()
    } else {
        answer.trim().to_owned()
    })
}
