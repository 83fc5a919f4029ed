//! Bounds what the literal guard tells.
//!
//! Its answer says whether a text holds a stored value. Whoever may send requests, and does not know
//! the values, could have any number of guesses answered, thousands in one request. A program that
//! carries a value by mistake is told so a few times in a minute; what comes after that is not looked
//! at until the minute is over.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::proxy::runtime::sync::lock;

/// The most answers that one client of one principal gets in a [`WINDOW`].
pub const MOST: u32 = 64;

/// How long answers are counted, and how long a client that had [`MOST`] of them waits at most.
pub const WINDOW: Duration = Duration::from_secs(60);

/// The most clients that are remembered. The oldest are forgotten first.
const MAX_CLIENTS: usize = 4096;

/// What became of a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// There may be more.
    Within,
    /// It was the last one.
    Last,
}

/// Counts the answers of the guard.
pub struct ExposureLimit {
    begun: Instant,
    /// Until when some client waits, in milliseconds since `begun`: requests look at nothing else.
    closed_until: AtomicU64,
    told: Mutex<HashMap<Asking, Window>>,
}

/// A principal and one of its clients.
type Asking = (Box<str>, Box<str>);

struct Window {
    since: Instant,
    count: u32,
}

impl ExposureLimit {
    /// Counts from now on.
    pub fn since(begun: Instant) -> Self {
        Self {
            begun,
            closed_until: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    /// Counts an answer to this client.
    pub fn note(&self, principal: &str, client: &str, now: Instant) -> Told {
        let mut told = lock(&self.told);
        let key = (principal.into(), client.into());
        if told.len() >= MAX_CLIENTS && !told.contains_key(&key) {
            told.retain(|_, window| window.is_open(now));
            let oldest = told.iter().min_by_key(|(_, window)| window.since);
            let oldest = oldest.map(|(key, _)| key.clone());
            if let Some(oldest) = oldest.filter(|_| told.len() >= MAX_CLIENTS) {
                told.remove(&oldest);
            }
        }
        let begun = || Window {
            since: now,
            count: 0,
        };
        let window = told.entry(key).or_insert_with(begun);
        if !window.is_open(now) {
            *window = begun();
        }
        window.count = window.count.saturating_add(1);
        if window.count != MOST {
            return Told::Within;
        }
        let until = window.since + WINDOW - self.begun;
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        self.closed_until.fetch_max(until, Ordering::Relaxed);
        Told::Last
    }

    /// Whether this client gets no answer now.
    pub fn is_reached(&self, principal: &str, client: &str, now: Instant) -> bool {
        let until = self.closed_until.load(Ordering::Relaxed);
        if until == 0 || (now - self.begun).as_millis() > u128::from(until) {
            return false;
        }
        let told = lock(&self.told);
        let key: Asking = (principal.into(), client.into());
        let window = told.get(&key);
        window.is_some_and(|window| window.count >= MOST && window.is_open(now))
    }
}

impl Window {
    fn is_open(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < WINDOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_waits_for_the_end_of_its_minute() {
        let now = Instant::now();
        let limit = ExposureLimit::since(now);
        assert!(!limit.is_reached("alice", "laptop", now));
        for _ in 1..MOST {
            assert_eq!(limit.note("alice", "laptop", now), Told::Within);
        }
        assert!(!limit.is_reached("alice", "laptop", now));
        assert_eq!(limit.note("alice", "laptop", now), Told::Last);
        assert!(limit.is_reached("alice", "laptop", now));
        assert!(!limit.is_reached("alice", "desk", now));
        assert!(!limit.is_reached("bob", "laptop", now));
        // Requests that were under way do not say it again.
        assert_eq!(limit.note("alice", "laptop", now), Told::Within);
        let later = now + WINDOW;
        assert!(!limit.is_reached("alice", "laptop", later));
        assert_eq!(limit.note("alice", "laptop", later), Told::Within);
        assert!(!limit.is_reached("alice", "laptop", later));
    }

    #[test]
    fn no_more_clients_are_remembered_than_there_is_room_for() {
        let now = Instant::now();
        let limit = ExposureLimit::since(now);
        for number in 0..MAX_CLIENTS + 10 {
            let now = now + Duration::from_millis(number as u64);
            limit.note("alice", &number.to_string(), now);
        }
        assert_eq!(lock(&limit.told).len(), MAX_CLIENTS);
    }
}
