//! The streams that are open: a user has few, and the server not many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::vault::Principal;

/// Most streams of one user.
const PER_USER: usize = 4;
/// Most streams.
const PER_SERVER: usize = 64;

/// The streams that are open, by user.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<HashMap<Principal, usize>>>);

/// One of them, as long as it is held.
pub struct Place {
    streams: Streams,
    user: Principal,
}

impl Streams {
    /// Counts another stream of `user`; `None` if there are too many.
    pub fn take(&self, user: &Principal) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = open.values().sum();
        if all >= PER_SERVER || open.get(user).is_some_and(|own| *own >= PER_USER) {
            return None;
        }
        *open.entry(user.clone()).or_default() += 1;
        Some(Place {
            streams: self.clone(),
            user: user.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .streams
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = open.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                open.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_four_streams_and_gets_a_place_back() {
        let streams = Streams::default();
        let [alice, bob] = ["alice", "bob"].map(|name| Principal::parse(name).unwrap());
        let open: Vec<_> = (0..PER_USER).map(|_| streams.take(&alice)).collect();
        assert!(open.iter().all(Option::is_some));
        assert!(streams.take(&alice).is_none());
        assert!(streams.take(&bob).is_some());
        drop(open);
        assert!(streams.take(&alice).is_some());
        assert!(streams.0.lock().unwrap().is_empty());
    }
}
