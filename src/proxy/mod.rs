//! The proxy: from an accepted connection to the client's answer, in flow order.
//!
//! [`inbound`] accepts connections and reads requests; [`exchange`] decides about each; [`outbound`] is
//! the one way out; [`response`] is the way back, and [`websocket`] both at once, message by message.
//! [`runtime`] is what all of them run on.

pub mod exchange;
pub mod inbound;
pub mod outbound;
pub mod response;
pub mod runtime;
pub mod websocket;

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::identity::Identity;
use crate::ledger::Ledger;
use crate::tls::leaf::LeafCache;
use crate::vault::Vault;
use inbound::head::HeadLimits;
use outbound::upstream::Upstream;

/// Everything that a request needs, put together by [`crate::app`].
pub struct Proxy {
    /// What a reload exchanges. A request takes it once and keeps it to its end.
    pub settings: ArcSwap<Settings>,
    /// The credentials.
    pub vault: Arc<Vault>,
    /// The usage record.
    pub ledger: Ledger,
    /// The certificates shown to clients.
    pub leaves: Arc<LeafCache>,
    /// Cancelled when the proxy begins to drain.
    pub draining: CancellationToken,
    /// Every connection and tunnel, for the drain to wait for.
    pub tasks: TaskTracker,
    /// Follows what other processes change in the store.
    pub changes: crate::changes::Changes,
    /// What must not come back.
    pub watchlist: exchange::watch::Watchlist,
    /// Numbers the requests.
    pub ids: RequestIds,
    /// Counts the answers.
    pub counters: Arc<runtime::counters::Counters>,
}

/// The part of the proxy that a reload replaces as a whole.
pub struct Settings {
    /// The configuration in force.
    pub config: Config,
    /// Who may ask, under `proxy.require_auth`.
    pub identity: Identity,
    /// The way out under the configured addresses and roots.
    pub upstream: Upstream,
}

impl Settings {
    pub(crate) fn head_limits(&self) -> HeadLimits {
        let proxy = &self.config.proxy;
        HeadLimits {
            bytes: proxy.max_header_bytes,
            headers: proxy.max_headers,
            head_timeout: proxy.header_timeout,
            idle_timeout: proxy.idle_timeout,
        }
    }
}

/// Makes request ids: unique over restarts without a look at the disk, and short enough to read out.
pub struct RequestIds {
    prefix: u32,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids that begin with `prefix`, which is random for each start.
    pub fn new(prefix: u32) -> Self {
        Self {
            prefix,
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn next(&self) -> RequestId {
        RequestId::new(self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The id of a request, as `Egret-Request` says it. It is its own text, so that it is handed on
/// without an allocation.
#[derive(Clone, Copy)]
pub struct RequestId {
    text: [u8; Self::LONGEST],
    length: usize,
}

impl RequestId {
    const LONGEST: usize = "req-00000000-0000000000000000".len();

    fn new(prefix: u32, number: u64) -> Self {
        let mut id = Self {
            text: *b"req-00000000-0000000000000000",
            length: "req-".len(),
        };
        id.push_hex(prefix.into(), 8);
        id.length += "-".len();
        id.push_hex(number, 1);
        id
    }

    /// Writes a number with at least so many hexadecimal digits. A formatter takes ten times as
    /// long.
    fn push_hex(&mut self, number: u64, least: u32) {
        let digits = (u64::BITS - number.leading_zeros()).div_ceil(4).max(least);
        for place in (0..digits).rev() {
            let digit = (number >> (4 * place)) & 0xf;
            self.text[self.length] = b"0123456789abcdef"[digit as usize];
            self.length += 1;
        }
    }
}

impl Deref for RequestId {
    type Target = str;

    fn deref(&self) -> &str {
        str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Locks, also after a panic elsewhere: what these mutexes hold is complete between any two lines.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock in unix seconds, as expiry is compared with it.
pub(crate) fn unix_now() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_as_a_formatter_would_write_them() {
        for (prefix, n) in [(0, 1), (0xab, 0xf), (u32::MAX, 0x10), (7, u64::MAX)] {
            let ids = RequestIds::new(prefix);
            ids.next.store(n, Ordering::Relaxed);
            assert_eq!(*ids.next(), *format!("req-{prefix:08x}-{n:x}"));
        }
    }
}
