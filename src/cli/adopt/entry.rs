//! What was found: each key once, with every place at which it is.

use std::collections::HashSet;

use super::file::Opened;
use crate::cli::usable::Usable;
use crate::import::programs::Spot;
use crate::import::{self, Proposal, Row};
use crate::secret::{SecretBytes, is_same};

/// A place: the number of the file, and of the spot in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: usize,
    pub(super) spot: usize,
}

/// A key.
pub(super) struct Entry {
    pub(super) places: Vec<Place>,
    /// What becomes of it.
    pub(super) fate: Fate,
    /// What would be saved; without hosts if it is not known where it may go.
    pub(super) proposal: Proposal,
    /// Its placeholder, where it is saved already.
    pub(super) known: Option<String>,
}

/// What becomes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Complete,
    Known,
    LacksHosts,
    Skipped,
    Stays(&'static str),
    Adopted,
}

impl Fate {
    pub(super) fn text(self) -> String {
        match self {
            Self::Complete => "would be saved".to_owned(),
            Self::Known => "is saved already".to_owned(),
            Self::LacksHosts => "needs --host".to_owned(),
            Self::Skipped => "skipped".to_owned(),
            Self::Stays(reason) => format!("stays: {reason}"),
            Self::Adopted => "adopted".to_owned(),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Complete => "would_be_saved",
            Self::Known => "is_saved",
            Self::LacksHosts => "needs_hosts",
            Self::Skipped => "skipped",
            Self::Stays(_) => "stays",
            Self::Adopted => "adopted",
        }
    }
}

impl Entry {
    /// What is written in its place.
    pub(super) fn placeholder(&self) -> String {
        let new = || format!("<<{}>>", self.proposal.slug);
        self.known.clone().unwrap_or_else(new)
    }
}

/// The keys of the files; those that occur at several places once.
pub(super) fn collect(files: &[Opened], saved: &[Usable], taken: HashSet<String>) -> Vec<Entry> {
    let mut rows: Vec<Row> = Vec::new();
    let mut places: Vec<Vec<Place>> = Vec::new();
    let mut fates: Vec<Fate> = Vec::new();
    for (place, spot) in all(files) {
        let known = rows
            .iter()
            .position(|row| is_same(&row.value, &spot.row.value));
        if let Some(index) = known {
            places[index].push(place);
            add(&mut rows[index], &spot.row);
            continue;
        }
        rows.push(copy(&spot.row));
        places.push(vec![place]);
        fates.push(spot.obstacle.map_or(Fate::Complete, Fate::Stays));
    }
    let proposals = import::propose(rows, taken);
    let entries = proposals.into_iter().zip(places).zip(fates);
    let entries = entries.map(|((proposal, places), fate)| {
        let known = saved
            .iter()
            .find(|one| is_same(&one.value, &proposal.row.value))
            .map(|one| one.reference.placeholder());
        let fate = match fate {
            Fate::Complete if known.is_some() => Fate::Known,
            Fate::Complete if proposal.hosts.is_empty() => Fate::LacksHosts,
            fate => fate,
        };
        Entry {
            places,
            fate,
            proposal,
            known,
        }
    });
    entries.collect()
}

fn all(files: &[Opened]) -> impl Iterator<Item = (Place, &Spot)> {
    files.iter().enumerate().flat_map(|(file, opened)| {
        let spots = opened.spots.iter().enumerate();
        spots
            .filter(|(_, spot)| !spot.is_placeholder())
            .map(move |(number, spot)| (Place { file, spot: number }, spot))
    })
}

fn copy(row: &Row) -> Row {
    Row {
        line: row.line,
        name: row.name.clone(),
        kind: row.kind,
        value: SecretBytes::new(row.value.expose().to_vec()),
        hosts: row.hosts.clone(),
        locations: row.locations.clone(),
    }
}

/// Adds what another place of the same key says.
fn add(row: &mut Row, other: &Row) {
    for host in &other.hosts {
        if !row.hosts.contains(host) {
            row.hosts.push(host.clone());
        }
    }
    for location in &other.locations {
        if !row.locations.contains(location) {
            row.locations.push(location.clone());
        }
    }
}

/// Where a key is, for people.
pub(super) fn places(files: &[Opened], entry: &Entry) -> String {
    let place = |place: &Place| {
        let file = &files[place.file];
        format!("{}:{}", file.shown, file.spots[place.spot].row.line)
    };
    entry
        .places
        .iter()
        .map(place)
        .collect::<Vec<_>>()
        .join(", ")
}
