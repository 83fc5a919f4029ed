//! A small ledger on disk, for the tests of what reads one.

use std::fs;

use super::format::chain::Chain;
use super::format::checkpoint::{Cause, Checkpoint};
use super::format::entry::Entry;
use super::format::merkle::{Frontier, TreeHash};
use super::format::note::{Signer, Verifier};
use super::format::timestamp::Timestamp;
use super::layout::{CHECKPOINTS, CURRENT, PUBLIC_KEY, rotated};
use crate::secret::SecretBytes;

/// Microseconds between two checkpoints, for each line between them.
pub(super) const HOUR: i64 = 3_600_000_000;

/// Lines under the last checkpoint; one more follows them.
pub(super) const LINES: u64 = 37;

pub(super) fn signer(seed: u8) -> Signer {
    Signer::of_ledger(&SecretBytes::new(vec![seed; 32])).unwrap()
}

/// A ledger of two files with checkpoints at these sizes, an hour apart.
pub(super) fn ledger(sizes: &[u64], rotate_at: u64) -> (tempfile::TempDir, Verifier) {
    let dir = tempfile::tempdir().unwrap();
    let signer = signer(3);
    let (mut chain, mut tree) = (Chain::start(), Frontier::default());
    let (mut files, mut notes) = ([Vec::new(), Vec::new()], String::new());
    for number in 0..=LINES {
        if sizes.contains(&number) {
            let checkpoint = Checkpoint {
                origin: signer.verifier().name().clone(),
                tree: tree.clone(),
                head: chain.head(),
                time: Timestamp::from_unix_micros(i64::try_from(number).unwrap() * HOUR),
                cause: Cause::Count,
            };
            notes += &(checkpoint.sign(&signer).unwrap() + "\n");
        }
        let mut line = Vec::new();
        let entry = Entry::new(format!("event-{number}"));
        chain.append(Timestamp::from_unix_micros(7), &entry.encode(), &mut line);
        tree.push(TreeHash::of_leaf(line.strip_suffix(b"\n").unwrap()));
        files[usize::from(number >= rotate_at)].extend(line);
    }
    fs::write(rotated(dir.path(), 1), &files[0]).unwrap();
    fs::write(dir.path().join(CURRENT), &files[1]).unwrap();
    fs::write(dir.path().join(CHECKPOINTS), notes).unwrap();
    let key = signer.verifier().to_string() + "\n";
    fs::write(dir.path().join(PUBLIC_KEY), key).unwrap();
    (dir, signer.verifier().clone())
}
