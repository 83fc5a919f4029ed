//! What the proxy counts, for metrics: how requests were answered. Names of what was asked for are
//! not counted by; they come from clients, who could make any number of them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Code;

/// How requests were answered since the start.
#[derive(Debug)]
pub struct Counters {
    forwarded: AtomicU64,
    tunnels: AtomicU64,
    observed: AtomicU64,
    rejected: AtomicU64,
    refused: [AtomicU64; Code::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            forwarded: AtomicU64::default(),
            tunnels: AtomicU64::default(),
            observed: AtomicU64::default(),
            rejected: AtomicU64::default(),
            // The library has `Default` for at most 32.
            refused: std::array::from_fn(|_| AtomicU64::default()),
        }
    }
}

impl Counters {
    /// A request was answered by its upstream.
    pub fn forward(&self) {
        self.forwarded.fetch_add(1, Ordering::Relaxed);
    }

    /// A CONNECT was answered with a tunnel.
    pub fn tunnel(&self) {
        self.tunnels.fetch_add(1, Ordering::Relaxed);
    }

    /// A request went where no rule says anything about its client.
    pub fn observe(&self) {
        self.observed.fetch_add(1, Ordering::Relaxed);
    }

    /// A request was answered with this code.
    pub fn refuse(&self, code: Code) {
        if let Some(count) = self.refused.get(code as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Requests that their upstream answered.
    pub fn forwarded(&self) -> u64 {
        self.forwarded.load(Ordering::Relaxed)
    }

    /// Tunnels that were opened.
    pub fn tunnels(&self) -> u64 {
        self.tunnels.load(Ordering::Relaxed)
    }

    /// So many credentials are rejected by upstreams.
    pub fn set_rejected(&self, credentials: u64) {
        self.rejected.store(credentials, Ordering::Relaxed);
    }

    /// Credentials that upstreams refused several times in a row.
    pub fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    /// Requests that were let through because their destination is only observed.
    pub fn observed(&self) -> u64 {
        self.observed.load(Ordering::Relaxed)
    }

    /// Requests that were refused or failed, by code.
    pub fn refused(&self) -> impl Iterator<Item = (Code, u64)> {
        let counts = self.refused.iter();
        let counts = counts.map(|count| count.load(Ordering::Relaxed));
        Code::ALL.iter().copied().zip(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_its_own_count() {
        let counters = Counters::default();
        for (times, code) in Code::ALL.iter().enumerate() {
            (0..times).for_each(|_| counters.refuse(*code));
        }
        let seen: Vec<_> = counters.refused().collect();
        let expected = Code::ALL.iter().zip(0..);
        let expected: Vec<_> = expected.map(|(code, times)| (*code, times)).collect();
        assert_eq!(seen, expected);
    }
}
