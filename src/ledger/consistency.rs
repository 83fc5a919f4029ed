//! A proof that a ledger continues what it was at an earlier checkpoint (RFC 6962 section 2.1.2).

use std::path::Path;

use super::format::checkpoint::Checkpoint;
use super::format::merkle::{Prover, TreeHash, check_consistency};
use super::proof::{InvalidProof, ProveError, feed};
use super::verify::{self, Notes, VerifyError};

/// The hashes from the tree of `old` to that of `new`, read off the lines between them.
///
/// # Errors
/// When lines are not there, or do not fit the checkpoints.
pub fn prove(dir: &Path, old: &Checkpoint, new: &Checkpoint) -> Result<Vec<TreeHash>, ProveError> {
    let seq = new.size();
    if old.size() == 0 {
        return Ok(Vec::new());
    }
    let prover = Prover::consistency(old.size(), new.size());
    let prover = prover.and_then(|prover| prover.after(&old.tree));
    let mut prover = prover.ok_or(ProveError::NotCovered { seq })?;
    feed(dir, old.size()..new.size(), u64::MAX, &mut prover)?;
    let proof = prover.finish().ok_or(ProveError::NotThere { seq })?;
    let trees = [old, new].map(|checkpoint| (checkpoint.size(), checkpoint.root()));
    check_consistency(trees[0], trees[1], &proof).map_err(|_| ProveError::Mismatch {
        seq,
        reason: InvalidProof::NotIncluded,
    })?;
    Ok(proof)
}

/// The first checkpoint of this size that is in the ledger's own file. All of the file before it is read.
///
/// # Errors
/// When the file cannot be read.
pub fn checkpoint_of(dir: &Path, size: u64) -> Result<Option<Checkpoint>, VerifyError> {
    let Some(key) = verify::read_key(dir)? else {
        return Ok(None);
    };
    let mut file = verify::checkpoints_file(dir)?;
    let mut notes = Notes::new(file.read(dir)?);
    while let Some((_, note)) = notes.next_note()? {
        // Signatures are checked of the one that matters.
        let found = note.lines().nth(1).and_then(|size| size.parse().ok());
        if found == Some(size) {
            return Checkpoint::open(&note, &key)
                .map(Some)
                .map_err(VerifyError::Kept);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture::ledger;

    #[test]
    fn each_checkpoint_is_proven_to_continue_each_before_it() {
        let sizes = [0, 1, 4, 5, 8, 16, 17, 30, 37];
        let (dir, _) = ledger(&sizes, 16);
        let at = |size| checkpoint_of(dir.path(), size).unwrap().unwrap();
        for (i, old) in sizes.iter().enumerate() {
            for new in &sizes[i..] {
                let (old, new) = (at(*old), at(*new));
                let proof = prove(dir.path(), &old, &new).unwrap();
                check_consistency((old.size(), old.root()), (new.size(), new.root()), &proof)
                    .unwrap();
            }
        }
        assert!(checkpoint_of(dir.path(), 7).unwrap().is_none());
        assert!(
            prove(dir.path(), &at(8), &at(5)).is_err(),
            "it does not shrink"
        );
    }

    #[test]
    fn lines_that_are_gone_prove_nothing() {
        let (dir, _) = ledger(&[5, 30], 16);
        let at = |size| checkpoint_of(dir.path(), size).unwrap().unwrap();
        let (old, new) = (at(5), at(30));
        std::fs::remove_file(crate::ledger::layout::rotated(dir.path(), 1)).unwrap();
        assert!(prove(dir.path(), &old, &new).is_err());
    }
}
