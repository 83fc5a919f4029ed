//! The search of a request for stand-ins: texts that mean a placeholder.

use std::sync::Arc;

use crate::identity::Caller;
use crate::substitution::stand_in::StandInSearch;
use crate::vault::Vault;

/// What finds stand-ins in a request of `caller`; none where there is no stand-in at all, which costs a
/// look at one pointer.
///
/// Those of others are found as well, and refused: what a program was given by mistake should be heard
/// of, and not answered by an upstream. A client that is bound to a bundle uses what is in there and
/// nothing else.
pub fn search(vault: &Vault, caller: &Caller) -> Option<Arc<StandInSearch>> {
    let known = vault.stand_ins()?;
    let owner = caller
        .bundle
        .is_none()
        .then(|| caller.principal.as_str().into());
    Some(Arc::new(StandInSearch::new(known, owner)))
}
