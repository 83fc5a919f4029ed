//! What a start, or a writer, names in the ledger when something of it is missing or was changed.

use crate::ledger::format::entry::Entry;
use crate::ledger::format::event;
use crate::ledger::format::text::Text;

/// The checkpoints are gone, or the last of them.
pub(super) const CHECKPOINTS_MISSING: &str = "checkpoints_missing";
/// The last notes of the file are not signed with the ledger's key.
pub(super) const CHECKPOINTS_FOREIGN: &str = "checkpoints_foreign";
/// The signing key is gone, and nothing vouches for what it signed.
pub(super) const KEY_MISSING: &str = "signing_key_missing";
/// The sealed head is gone, or cannot be opened: nothing outside the directory vouches for it.
pub(super) const HEAD_MISSING: &str = "head_missing";
/// Lines that no checkpoint covers are not linked to one another.
pub(super) const UNLINKED: &str = "chain_broken";
/// Lines that a checkpoint covers are not there.
pub(super) const MISSING: &str = "lines_missing";
/// Files with lines that a checkpoint covers cannot be read to their end.
pub(super) const UNREADABLE: &str = "lines_unreadable";
/// Lines after the last checkpoint did not follow and were set aside.
pub(super) const SET_ASIDE: &str = "lines_set_aside";
/// Lines that the ledger's writer did not write were set aside: they follow the checkpoint of a
/// clean end, or were added to the file while it was in use.
pub(super) const FOREIGN: &str = "lines_foreign";

/// In a `ledger.signed` line: another key signs from here on, and the sealed head vouches for the
/// lines before.
pub(super) const KEY_REPLACED: &str = "signing_key_replaced";

/// A `ledger.damaged` line, which is also logged.
pub(super) fn entry(
    code: &'static str,
    places: impl IntoIterator<Item = String>,
) -> Entry<'static> {
    let places: Vec<Text<'static>> = places.into_iter().map(Text::from).collect();
    tracing::error!(
        code,
        ?places,
        "the ledger is damaged; `egret ledger verify` says more"
    );
    Entry {
        code: Some(code.into()),
        locations: places,
        ..Entry::new(event::DAMAGED)
    }
}
