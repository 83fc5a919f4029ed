//! How often somebody may try to sign in.
//!
//! By address, against one who tries many accounts, and by account, against many who try one. An
//! account is never locked: whoever knows its name could keep its user out for good.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::problem::{AdminProblem, Trouble};

/// How many attempts are possible at once, and after what time there is one more.
struct Pace {
    burst: NonZeroU32,
    one_more: Duration,
}

/// Of one address.
const OF_ADDRESS: Pace = Pace {
    burst: count(20),
    one_more: Duration::from_secs(3),
};
/// At one account.
const OF_ACCOUNT: Pace = Pace {
    burst: count(10),
    one_more: Duration::from_secs(6),
};
/// Most accounts and addresses that are kept in mind before those without recent attempts are
/// forgotten.
const MOST: usize = 10_000;

const fn count(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// The recent attempts to sign in.
pub(super) struct Attempts {
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    accounts: DefaultKeyedRateLimiter<String>,
}

impl Default for Attempts {
    fn default() -> Self {
        Self {
            addresses: limiter(OF_ADDRESS),
            accounts: limiter(OF_ACCOUNT),
        }
    }
}

fn limiter<K: Clone + Hash + Eq>(pace: Pace) -> DefaultKeyedRateLimiter<K> {
    let quota = Quota::with_period(pace.one_more).unwrap_or(Quota::per_minute(pace.burst));
    RateLimiter::dashmap(quota.allow_burst(pace.burst))
}

impl Attempts {
    /// Counts an attempt of this address, and at this account if one is named.
    pub(super) fn count(&self, address: IpAddr, account: Option<&str>) -> Result<(), AdminProblem> {
        if self.addresses.len() > MOST {
            self.addresses.retain_recent();
        }
        if self.accounts.len() > MOST {
            self.accounts.retain_recent();
        }
        let now = DefaultClock::default().now();
        let by_address = self.addresses.check_key(&network(address)).err();
        let by_account = account.and_then(|account| {
            // A name that is no name is counted too, and must not be kept at its length.
            let account: String = account.chars().take(64).collect();
            self.accounts.check_key(&account).err()
        });
        match by_address.or(by_account) {
            None => Ok(()),
            Some(not_until) => {
                let seconds = not_until.wait_time_from(now).as_secs() + 1;
                Err(AdminProblem::because(
                    Trouble::TooMany,
                    format!("Too many attempts to sign in. Try again in {seconds} s."),
                )
                .retry_after(seconds))
            }
        }
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let high = u128::from(address) >> 64 << 64;
            IpAddr::V6(high.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_limited_by_address_and_by_account() {
        let attempts = Attempts::default();
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        for number in 0..10 {
            let tried = attempts.count(address(number), Some("alice"));
            assert!(tried.is_ok(), "{number}");
        }
        let tried = attempts.count(address(100), Some("alice")).unwrap_err();
        assert_eq!(tried.trouble, Trouble::TooMany);
        assert!(tried.retry_after.is_some_and(|seconds| seconds <= 7));
        assert!(attempts.count(address(100), Some("bob")).is_ok());

        let spray = |number: u8| attempts.count(address(200), Some(&format!("user{number}")));
        assert!((0..20).all(|number| spray(number).is_ok()));
        assert!(spray(20).is_err());
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let attempts = Attempts::default();
        let tries = (0..21u16).map(|last| {
            let address = [0x2001, 0xdb8, 0, 0, 0, 0, 0, last];
            attempts.count(IpAddr::from(address), None).is_ok()
        });
        assert_eq!(tries.filter(|allowed| *allowed).count(), 20);
    }
}
