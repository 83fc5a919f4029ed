//! Which credentials changed lately: what was prepared of all of a principal's need not be made anew for
//! each change of one.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::substitution::slug::Slug;
use crate::vault::name::Principal;

/// Most changes that are remembered.
const MOST: usize = 2_000;

/// Owner and slug of a credential.
pub(super) type Name = (Principal, Slug);

/// The changes of late.
#[derive(Default)]
pub(super) struct Recent(Mutex<Log>);

#[derive(Default)]
struct Log {
    /// Every change after this generation is there.
    from: u64,
    /// What was changed, and the generation that it led to; in that order.
    changes: VecDeque<(u64, Name)>,
}

impl Recent {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what led to `generation`. To be called before anyone sees that.
    pub(super) fn note(&self, generation: u64, names: Vec<Name>) {
        let mut log = self.lock();
        if names.len() > MOST {
            *log = Log::up_to(generation);
            return;
        }
        log.changes
            .extend(names.into_iter().map(|name| (generation, name)));
        while log.changes.len() > MOST {
            // All of a generation, or it would look complete.
            let Some((oldest, _)) = log.changes.pop_front() else {
                break;
            };
            log.from = oldest;
        }
    }

    /// What led to `generation` may have changed anything.
    pub(super) fn forget(&self, generation: u64) {
        *self.lock() = Log::up_to(generation);
    }

    /// What changed after `generation`; `None` if that is not known any more.
    pub(super) fn since(&self, generation: u64) -> Option<HashSet<Name>> {
        let log = self.lock();
        let later = log.changes.iter().filter(|(at, _)| *at > generation);
        (generation >= log.from).then(|| later.map(|(_, name)| name.clone()).collect())
    }
}

impl Log {
    fn up_to(generation: u64) -> Self {
        Self {
            from: generation,
            changes: VecDeque::new(),
        }
    }
}
