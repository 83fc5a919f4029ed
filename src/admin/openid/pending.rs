//! Sign-ins that have begun and wait for the provider.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long somebody may take at the provider.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// Most that wait at once. The oldest makes room.
const MOST: usize = 1000;

/// A sign-in that has begun.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// The secret in the cookie of the browser that began.
    pub(super) browser: String,
    pub(super) nonce: String,
    pub(super) verifier: String,
    /// The path to which a success leads.
    pub(super) next: String,
    /// Whether the person has to prove, just now, to be the person.
    pub(super) is_proof: bool,
    pub(super) begun: Instant,
}

/// By their `state`.
#[derive(Default)]
pub(super) struct Waiting(Mutex<HashMap<String, Pending>>);

impl Waiting {
    pub(super) fn add(&self, state: String, pending: Pending) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, pending| pending.begun.elapsed() < PATIENCE);
        if waiting.len() >= MOST {
            let oldest = waiting.iter().min_by_key(|(_, pending)| pending.begun);
            if let Some(oldest) = oldest.map(|(state, _)| state.clone()) {
                waiting.remove(&oldest);
            }
        }
        waiting.insert(state, pending);
    }

    /// The sign-in of that state, once, if this browser began it.
    pub(super) fn take(&self, state: &str, browser: &str) -> Option<Pending> {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = waiting.get(state)?;
        if pending.browser != browser || pending.begun.elapsed() >= PATIENCE {
            return None;
        }
        waiting.remove(state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pending(browser: &str) -> Pending {
        Pending {
            browser: browser.to_owned(),
            nonce: String::new(),
            verifier: String::new(),
            next: String::new(),
            is_proof: false,
            begun: Instant::now(),
        }
    }

    #[test]
    fn a_state_works_once_and_for_its_browser() {
        let waiting = Waiting::default();
        waiting.add("s".to_owned(), pending("b"));
        assert!(waiting.take("s", "other").is_none());
        assert!(waiting.take("x", "b").is_none());
        assert!(waiting.take("s", "b").is_some());
        assert!(waiting.take("s", "b").is_none());
    }

    #[test]
    fn there_is_room_for_a_thousand() {
        let waiting = Waiting::default();
        for number in 0..=MOST {
            waiting.add(number.to_string(), pending("b"));
        }
        assert_eq!(waiting.0.lock().unwrap().len(), MOST);
        assert!(waiting.take("0", "b").is_none());
        assert!(waiting.take("1000", "b").is_some());
    }
}
