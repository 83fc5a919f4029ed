//! The usage record: which action used which credential, on disk before the value leaves.
//!
//! ```text
//! commit(draft) ─► queue ─► writer: write, fdatasync ─► answers ─► tree ─► checkpoint, rotation
//!                             one thread, one sync for all            │
//!                                                archive (a thread) ◄─┘ compression, retention
//! ```
//!
//! [`record`](format::record) is the format of a line, [`chain`](format::chain) ties each line to the one before it, [`merkle`](format::merkle) is
//! the tree over all of them, [`note`](format::note) and [`checkpoint`](format::checkpoint) are what is signed; they know bytes alone.
//! [`layout`] names the files. [`writer`] owns them: one thread, one `write` and one `fdatasync` for
//! all that wait at that moment. [`reader`] reads lines back and follows the file as it grows.
//! [`stats`] is what the writer counts, [`signing`](writer::signing) the key and who seals it.
//!
//! [`history`] is the files in order, [`record_ref`](format::record_ref) a line read without copying. On them build
//! [`verify`], which checks it all and knows nothing of the writer, [`proof`], which proves a line
//! to someone else, [`export`], [`window`], which shows pages of it, [`went`], where clients went, and [`usage`], the index that answers who used what.
//!
//! # What each part answers
//!
//! | Trouble | Answer |
//! | --- | --- |
//! | The disk is full, slow or broken | no answer but an error within the deadline; tried again each second ([`writer`]) |
//! | A failed `fdatasync` that the kernel forgets | the file is cut back and the lines written again, not only synced again |
//! | A crash | torn lines set aside, uses without a result named, the rest taken up from the last checkpoint |
//! | A line changed, dropped, added or moved | the chain; the whole past rewritten: the tree, by a checkpoint kept elsewhere |
//! | The past rewritten without the key, and the checkpoints removed | the sealed head, outside the directory, which a start compares with the lines ([`writer`]) |
//! | A checkpoint or rotation that fails | lines go on; it is counted, and tried again |
//! | Two writers | the lock, of the file and of the directory; a file replaced or grown by another process is noticed before the next line, and never cut or renamed |
//! | The clock goes back | order is by `seq`; no file is rotated, dropped or overwritten for it |

pub mod background_check;
pub mod consistency;
pub mod cosigned;
pub mod export;
mod filter;
pub mod first_uses;
#[cfg(test)]
mod fixture;
pub mod format;
pub mod history;
pub mod layout;
pub mod lines;
pub mod lines_from;
pub mod own_keys;
mod priority;
mod probe;
pub mod proof;
pub mod reader;
#[cfg(test)]
mod scale;
pub mod snapshot;
pub mod stats;
pub mod usage;
pub mod verify;
pub mod went;
pub mod window;
pub mod writer;

pub use format::encoded::EncodedEntries;
pub use format::entry::Entry;
pub use format::record::Record;
pub use format::record_ref::RecordRef;
pub use format::text::Text;
pub use format::timestamp::Timestamp;
pub use format::{event, outcome};
pub use layout::CURRENT;
pub use probe::LedgerProbe;
pub use stats::Snapshot;
pub use writer::{
    Durability, Keep, Ledger, LedgerError, LedgerUnavailable, NextWriter, NoLines, NotFollowed,
    Options, Relayed,
};
