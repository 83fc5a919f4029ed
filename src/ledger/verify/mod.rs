//! The check of a whole ledger.
//!
//! Each line must be a record, numbered without gaps and linked to the line before; at the size of
//! each checkpoint the tree over the lines must have the root that was signed there. All is read
//! once, in order, and what is kept is one line and a few dozen hashes.
//!
//! Nothing here is shared with the writer but the definitions of the format: lines, chain, tree,
//! checkpoints and the names of the files. A mistake of the writer's must not be repeated by what
//! is to find it.

mod checker;
mod directory;
mod flaw;
mod notes;
mod run;

pub use checker::{Checker, Remark};
pub use directory::{
    Ask, KeySource, Verified, VerifyError, Witnessed, checkpoints_file, directory, read_key,
};
pub use flaw::{Flaw, Wrong};
pub use notes::{Checkpoints, Notes, Placed};
pub use run::{InputFile, Plan, Report, Signed, last_while, start_before, verify};
