//! Rates: how many requests there may be in a time, of a client or with a credential.
//!
//! The generic cell rate algorithm (ITU-T I.371): of each thing one time is kept, at which all that was
//! let through would have come had it come evenly. What is remembered is lost with the process.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::policy::use_limits::Rate;
use crate::proxy::runtime::sync::lock;

/// Most things that are counted at a time: clients and credentials, which people add.
const MOST: usize = 64 * 1024;
/// How long a request is held back at most before it is refused instead.
pub const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Counts things against their rates.
#[derive(Default)]
pub struct Budgets {
    hasher: RandomState,
    even: Mutex<HashMap<u64, Instant>>,
}

impl Budgets {
    /// Takes one of what a thing may have at `now`; or says how long there is none.
    pub fn take(&self, thing: &impl Hash, rate: Rate, now: Instant) -> Result<(), Duration> {
        let key = self.hasher.hash_one(thing);
        let mut even = lock(&self.even);
        if even.len() >= MOST && !even.contains_key(&key) {
            // What lies in the past is as if it had never been counted.
            even.retain(|_, at| *at > now);
            if even.len() >= MOST {
                return Err(rate.interval());
            }
        }
        let at = even.entry(key).or_insert(now);
        let next = (*at).max(now) + rate.interval();
        match next
            .saturating_duration_since(now)
            .checked_sub(rate.period())
        {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                *at = next;
                Ok(())
            }
        }
    }

    /// Takes one, and waits a short time for it if need be.
    ///
    /// # Errors
    /// With how long there is none.
    pub async fn take_soon(&self, thing: &impl Hash, rate: Rate) -> Result<(), Duration> {
        match self.take(thing, rate, Instant::now()) {
            Err(wait) if wait <= LONGEST_DELAY => {
                tokio::time::sleep(wait).await;
                self.take(thing, rate, Instant::now())
            }
            taken => taken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_the_rate_says_and_then_one_by_one() {
        let (budgets, start) = (Budgets::default(), Instant::now());
        let rate: Rate = "4/m".parse().unwrap();
        let at = |seconds| start + Duration::from_secs(seconds);
        for _ in 0..4 {
            assert_eq!(budgets.take(&"a", rate, start), Ok(()));
        }
        assert_eq!(
            budgets.take(&"a", rate, start),
            Err(Duration::from_secs(15))
        );
        assert_eq!(
            budgets.take(&"a", rate, at(5)),
            Err(Duration::from_secs(10))
        );
        assert_eq!(budgets.take(&"b", rate, start), Ok(()));
        assert_eq!(budgets.take(&"a", rate, at(15)), Ok(()));
        assert!(budgets.take(&"a", rate, at(15)).is_err());
        for _ in 0..4 {
            assert_eq!(budgets.take(&"a", rate, at(1000)), Ok(()));
        }
        assert!(budgets.take(&"a", rate, at(1000)).is_err());
    }
}
