//! Keys that clients bring and Egret does not hold, as the lines of the ledger have it: where they are in
//! requests, never what they are.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use super::format::record_ref::RecordRef;
use super::went::{self, Kind, Went};
use crate::policy::grant::HostPattern;

/// Where a client brings a key of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bringing {
    /// The client.
    pub client: String,
    /// For whom it acts.
    pub principal: String,
    /// Where it sends the key, as limits name hosts.
    pub host: String,
    /// Where in its requests the key is.
    pub place: String,
}

/// How often, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    earlier: u64,
    current: u64,
    /// When it was last on record.
    pub last: String,
}

impl Tally {
    /// A count that does not grow begins at zero after a start.
    fn add(&mut self, count: u64, time: &str) {
        if count <= self.current {
            self.earlier += self.current;
        }
        self.current = count;
        time.clone_into(&mut self.last);
    }

    /// How many requests did so, rounded down.
    pub fn at_least(&self) -> u64 {
        self.earlier + self.current
    }
}

/// Where clients brought keys of their own since a time (unix seconds).
///
/// # Errors
/// When the ledger in `dir` cannot be read.
pub fn own_keys(dir: &Path, since: i64) -> io::Result<BTreeMap<Bringing, Tally>> {
    let mut tallies: BTreeMap<Bringing, Tally> = BTreeMap::new();
    went::each(dir, since, Kind::OwnKeys, |line| {
        if let Some((bringing, count)) = read(line) {
            tallies.entry(bringing).or_default().add(count, &line.time);
        }
    })?;
    Ok(tallies)
}

fn read(line: &RecordRef<'_>) -> Option<(Bringing, u64)> {
    let went = Went::of(line)?;
    let [place, count] = line.locations.as_slice() else {
        return None;
    };
    let count = count.strip_suffix(" requests")?.parse().ok()?;
    let host = HostPattern::of(&went.destination()?).to_string();
    let bringing = Bringing {
        client: went.client,
        principal: went.principal,
        host,
        place: place.to_string(),
    };
    Some((bringing, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_starts_add_up() {
        let mut tally = Tally::default();
        for count in [1, 2, 4, 1, 2, 1] {
            tally.add(count, "t");
        }
        assert_eq!(tally.at_least(), 4 + 2 + 1);
    }
}
