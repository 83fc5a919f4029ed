//! What the program sees of files in which other programs keep credentials: placeholders, where their
//! hosts have a credential of the principal's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::cli::usable::Usable;
use crate::import::programs::{IN_HOME, Spot, shown};
use crate::secret::is_same;

/// Largest file that is shown.
const LARGEST: u64 = 64 * 1024;

/// What is put in place of each file that holds a key; an empty text where nothing is shown of it.
pub(super) fn masks(home: &Path, usable: &[Usable]) -> BTreeMap<PathBuf, String> {
    let mut masks = BTreeMap::new();
    for (place, kind) in IN_HOME {
        let Ok(path) = fs::canonicalize(home.join(place)) else {
            continue;
        };
        let Some(content) = read(&path) else {
            continue;
        };
        // What cannot be read may hold anything.
        let mask = match kind.find(&content) {
            Ok(spots) if spots.is_empty() => continue,
            Ok(spots) => {
                let spots = spots.into_iter().map(|spot| {
                    let placeholder = placeholder(&spot, usable);
                    (spot, placeholder)
                });
                shown(*kind, &content, &spots.collect::<Vec<_>>())
            }
            Err(_) => None,
        };
        masks.insert(path, mask.unwrap_or_default());
    }
    masks
}

fn read(path: &Path) -> Option<Zeroizing<String>> {
    let mut content = Zeroizing::new(String::new());
    let file = File::open(path).ok()?;
    file.take(LARGEST + 1).read_to_string(&mut content).ok()?;
    (content.len() as u64 <= LARGEST).then_some(content)
}

/// The placeholder that is there, else that of the same value, else that of the only credential for the
/// hosts of the key.
fn placeholder(spot: &Spot, usable: &[Usable]) -> Option<String> {
    let value = &spot.row.value;
    if spot.is_placeholder() {
        return String::from_utf8(value.expose().to_vec()).ok();
    }
    if spot.obstacle.is_some() {
        return None;
    }
    if let Some(same) = usable.iter().find(|one| is_same(&one.value, value)) {
        return Some(same.reference.placeholder());
    }
    let is_for = |one: &&Usable| {
        let covers = |host| one.hosts.iter().any(|own| own.includes(host));
        spot.row.hosts.iter().any(covers)
    };
    let mut candidates = usable.iter().filter(is_for);
    let only = candidates.next()?;
    candidates
        .next()
        .is_none()
        .then(|| only.reference.placeholder())
}
