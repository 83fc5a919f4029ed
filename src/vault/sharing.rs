//! Shares of a credential: given, changed and taken back.
//!
//! Pure: a policy and a time go in, a policy comes out.

use std::fmt::Write as _;

use crate::policy::share_limits::ShareLimits;
use crate::vault::model::OVERLAP;
use crate::vault::name::Principal;
use crate::vault::people::{Grantee, Share};
use crate::vault::record::Policy;
use crate::vault::store::StoreError;

/// Most shares of one credential, those included whose values are still searched for.
pub const MOST_SHARES: usize = 1_000;

/// With whom, how far and how long something is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// With whom.
    pub with: Grantee,
    /// What they may do of what the owner may.
    pub limits: ShareLimits,
    /// When it stops, unix seconds.
    pub until: Option<i64>,
}

impl Offer {
    /// Without limits of its own.
    pub fn to(with: Grantee) -> Self {
        Self {
            with,
            limits: ShareLimits::default(),
            until: None,
        }
    }
}

/// Shares a credential, or changes the limits of a share. Returns whether anything is different.
pub fn share(
    policy: &mut Policy,
    owner: &Principal,
    offer: &Offer,
    now: i64,
) -> Result<bool, StoreError> {
    offer.limits.check_within(&policy.grant)?;
    self::offer(&mut policy.shares, owner, offer, now)
}

/// Adds an offer to shares, or changes the limits of one. Returns whether anything is different.
pub fn offer(
    shares: &mut Vec<Share>,
    owner: &Principal,
    offer: &Offer,
    now: i64,
) -> Result<bool, StoreError> {
    if offer.with == Grantee::User(owner.clone()) {
        return Err(StoreError::OwnCredential(owner.clone()));
    }
    if offer.until.is_some_and(|at| at <= now) {
        return Err(StoreError::Invalid("that time is in the past"));
    }
    shares.retain(|share| {
        let over = share.ended.or(share.until);
        over.is_none_or(|at| at.saturating_add(OVERLAP) > now)
    });
    let present = |share: &&mut Share| share.with == offer.with && share.ended.is_none();
    if let Some(share) = shares.iter_mut().find(present) {
        if (&share.limits, share.until) == (&offer.limits, offer.until) {
            return Ok(false);
        }
        share.limits = offer.limits.clone();
        share.until = offer.until;
        return Ok(true);
    }
    if shares.len() >= MOST_SHARES {
        return Err(StoreError::TooMany("shares"));
    }
    shares.push(Share {
        with: offer.with.clone(),
        limits: offer.limits.clone(),
        until: offer.until,
        created: now,
        ended: None,
    });
    Ok(true)
}

/// Takes a share back. Returns whether there was one.
pub fn end(shares: &mut [Share], with: &Grantee, now: i64) -> bool {
    let mut ended = false;
    for share in shares {
        if share.with == *with && share.ended.is_none() {
            share.ended = Some(now);
            ended = true;
        }
    }
    ended
}

/// Keeps among the shares of a credential, as ended ones, those through which it was offered until now:
/// its value is searched for in what these users receive as long as that of a share that was taken back.
/// Returns whether anything is different.
pub fn keep_ended<'a>(
    shares: &mut Vec<Share>,
    former: impl IntoIterator<Item = &'a Share>,
    now: i64,
) -> bool {
    let mut changed = false;
    for share in former {
        let over = share.ended.or(share.until).map_or(now, |at| at.min(now));
        let is_kept_longer = |known: &Share| {
            known.with == share.with && known.ended.or(known.until).is_none_or(|at| at >= over)
        };
        if over.saturating_add(OVERLAP) <= now || shares.iter().any(is_kept_longer) {
            continue;
        }
        // One for each grantee, so that their number is bounded.
        shares.retain(|known| known.with != share.with || known.ended.is_none());
        shares.push(Share {
            ended: Some(over),
            ..share.clone()
        });
        changed = true;
    }
    changed
}

/// An offer in words, for the ledger: who, and with what limits. Limits are public.
pub fn describe(offer: &Offer) -> String {
    let mut text = format!("with {}", offer.with);
    let limits = &offer.limits;
    let mut list = |name: &str, items: Vec<String>| {
        if !items.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(text, "; {name} {}", items.join(" "));
        }
    };
    list("hosts", texts(&limits.hosts));
    list("locations", texts(&limits.locations));
    list("methods", limits.methods.clone());
    list("paths", texts(&limits.paths));
    list("actions", limits.actions.clone());
    list("until", offer.until.map(time).into_iter().collect());
    text
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(T::to_string).collect()
}

/// A time in words.
fn time(unix: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| unix.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(with: &str, until: Option<i64>, ended: Option<i64>) -> Share {
        Share {
            with: with.parse().unwrap(),
            limits: ShareLimits::default(),
            until,
            created: 0,
            ended,
        }
    }

    #[test]
    fn a_former_share_is_kept_once_for_each_grantee_and_as_long_as_one_that_was_taken_back() {
        let now = 10 * OVERLAP;
        let mut kept = Vec::new();
        let former = [
            share("bob", None, None),
            share("carol", Some(now - 5), None),
            share("dan", Some(now + 5), Some(now - 7)),
            share("eve", None, Some(now - OVERLAP)),
        ];
        assert!(keep_ended(&mut kept, &former, now));
        let over = |shares: &[Share]| -> Vec<_> {
            let over = shares
                .iter()
                .map(|share| (share.with.to_string(), share.ended));
            over.collect()
        };
        let known = |name: &str, at: i64| (name.to_owned(), Some(at));
        let expected = [
            known("bob", now),
            known("carol", now - 5),
            known("dan", now - 7),
        ];
        assert_eq!(over(&kept), expected);
        assert!(!keep_ended(&mut kept, &former, now));
        // A later end takes the place of an earlier one.
        let later = [share("dan", None, None)];
        assert!(keep_ended(&mut kept, &later, now + 1));
        assert_eq!(over(&kept)[2], known("dan", now + 1));
        assert_eq!(kept.len(), 3);
    }

    #[test]
    fn a_share_that_is_in_force_stays_and_is_enough() {
        let mut shares = vec![share("bob", Some(100), None)];
        assert!(!keep_ended(&mut shares, &[share("bob", None, None)], 99));
        assert_eq!(shares, [share("bob", Some(100), None)]);
    }
}
