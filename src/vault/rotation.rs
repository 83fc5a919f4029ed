//! Versions of a value: which one is in force, which wait, and how long replaced ones are kept.
//!
//! Pure: a policy and a time go in, a policy comes out.

use crate::vault::model::{OVERLAP, Phase, Version};
use crate::vault::record::Policy;
use crate::vault::store::StoreError;

/// Most versions of a credential that are kept at once. A value that is replaced more often than
/// this within the time that it would be kept is erased earlier.
pub const MOST_VERSIONS: usize = 8;

/// Longest time for which a replaced version is kept, in seconds.
pub const LONGEST_KEEP: i64 = 90 * 24 * 60 * 60;

/// Longest time after which a value is due to be replaced, in seconds.
const LONGEST_INTERVAL: i64 = 10 * 366 * 24 * 60 * 60;

/// Refuses a time, in seconds, after which nobody would rotate.
pub fn check_interval(every: Option<i64>) -> Result<(), StoreError> {
    let fits = |every: i64| (1..=LONGEST_INTERVAL).contains(&every);
    if every.is_none_or(fits) {
        return Ok(());
    }
    Err(StoreError::Invalid(
        "a value is due for rotation after at least a second and at most ten years",
    ))
}

/// What becomes of the value that is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long it is kept and searched for, in seconds. 0 erases it at once.
    pub keep: i64,
    /// Whether a rollback may put it in force again as long as it is kept.
    pub rollback: bool,
    /// Whether every replaced version is erased at once: the value is known to someone it was not
    /// meant for, and nothing may send it again.
    pub leaked: bool,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            keep: OVERLAP,
            rollback: false,
            leaked: false,
        }
    }
}

impl Retention {
    /// For a value that leaked.
    pub fn leaked() -> Self {
        Self {
            keep: 0,
            rollback: false,
            leaked: true,
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if !(0..=LONGEST_KEEP).contains(&self.keep) {
            return Err(StoreError::Invalid(
                "a replaced version is kept for at most 90 days",
            ));
        }
        if self.rollback && self.keep == 0 {
            return Err(StoreError::Invalid(
                "a version that is not kept cannot be rolled back to",
            ));
        }
        Ok(())
    }
}

/// Puts a new version in force and returns its number.
pub fn rotate(policy: &mut Policy, retention: &Retention, now: i64) -> Result<u32, StoreError> {
    retention.check()?;
    let number = next(policy)?;
    retire_current(policy, retention, now);
    policy.versions.push(Version {
        number,
        phase: Phase::Current,
        created: now,
        kept_until: None,
        rollback: false,
    });
    policy.rotated = now;
    bound(policy);
    Ok(number)
}

/// Saves a version that waits for its promotion, in place of one that waits already. Returns its
/// number.
pub fn stage(policy: &mut Policy, now: i64) -> Result<u32, StoreError> {
    let number = next(policy)?;
    policy
        .versions
        .retain(|version| version.phase != Phase::Staged);
    policy.versions.push(Version {
        number,
        phase: Phase::Staged,
        created: now,
        kept_until: None,
        rollback: false,
    });
    bound(policy);
    Ok(number)
}

/// Puts the version that waits in force and returns its number.
pub fn promote(policy: &mut Policy, retention: &Retention, now: i64) -> Result<u32, StoreError> {
    retention.check()?;
    let staged = policy.versions.iter().find(|v| v.phase == Phase::Staged);
    let Some(number) = staged.map(|version| version.number) else {
        return Err(StoreError::NoVersion(
            "no version waits for its promotion; `egret credential rotate SLUG --stage` saves one",
        ));
    };
    retire_current(policy, retention, now);
    put_in_force(policy, number, now);
    Ok(number)
}

/// Puts the version that was replaced last in force again, and returns its number. The one that it
/// replaces is kept and searched for like any other, and can be returned to as well.
pub fn roll_back(policy: &mut Policy, now: i64) -> Result<u32, StoreError> {
    let previous = policy.versions.iter().rev().find(|version| {
        let kept = version.kept_until.is_none_or(|at| now < at);
        version.phase == Phase::Replaced && version.rollback && kept
    });
    let Some(number) = previous.map(|version| version.number) else {
        return Err(StoreError::NoVersion(
            "no earlier version is kept for a rollback; \
             `egret credential rotate SLUG --rollback` keeps one",
        ));
    };
    let retention = Retention {
        rollback: true,
        ..Retention::default()
    };
    retire_current(policy, &retention, now);
    put_in_force(policy, number, now);
    Ok(number)
}

/// Erases a version that is not in force.
pub fn destroy(policy: &mut Policy, number: u32) -> Result<(), StoreError> {
    let version = policy.versions.iter().find(|v| v.number == number);
    match version.map(|version| version.phase) {
        None => Err(StoreError::NoVersion("that version is not kept")),
        Some(Phase::Current) => Err(StoreError::NoVersion(
            "that version is in use; rotate or delete the credential",
        )),
        Some(Phase::Staged | Phase::Replaced) => {
            policy.versions.retain(|version| version.number != number);
            Ok(())
        }
    }
}

fn next(policy: &mut Policy) -> Result<u32, StoreError> {
    let next = policy.last_version.checked_add(1);
    policy.last_version = next.ok_or(StoreError::NoVersion("there are no more version numbers"))?;
    Ok(policy.last_version)
}

fn put_in_force(policy: &mut Policy, number: u32, now: i64) {
    for version in &mut policy.versions {
        if version.number == number {
            version.phase = Phase::Current;
            version.kept_until = None;
            version.rollback = false;
        }
    }
    policy.rotated = now;
    bound(policy);
}

fn retire_current(policy: &mut Policy, retention: &Retention, now: i64) {
    for version in &mut policy.versions {
        if version.phase == Phase::Current {
            version.phase = Phase::Replaced;
            version.kept_until = Some(now.saturating_add(retention.keep));
            version.rollback = retention.rollback;
        }
    }
    policy.versions.retain(|version| {
        let is_over = version.kept_until.is_some_and(|at| at <= now);
        version.phase != Phase::Replaced || !(is_over || retention.leaked)
    });
}

/// Drops the oldest replaced versions beyond the bound.
fn bound(policy: &mut Policy) {
    while policy.versions.len() > MOST_VERSIONS {
        let oldest = policy
            .versions
            .iter()
            .position(|version| version.phase == Phase::Replaced);
        match oldest {
            Some(at) => drop(policy.versions.remove(at)),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::grant::Grant;
    use crate::vault::model::{Kind, State};

    fn policy() -> Policy {
        let mut policy = Policy {
            kind: Kind::Secret,
            description: String::new(),
            grant: Grant::for_hosts(Vec::new()),
            state: State::Active,
            searched_until: None,
            created: 0,
            rotated: 0,
            rotate_every: None,
            last_version: 0,
            versions: Vec::new(),
            shares: Vec::new(),
            attachments: Vec::new(),
            stand_ins: Vec::new(),
        };
        rotate(&mut policy, &Retention::default(), 0).unwrap();
        policy
    }

    fn kept(policy: &Policy) -> Vec<u32> {
        policy.versions.iter().map(|v| v.number).collect()
    }

    #[test]
    fn a_staged_version_waits_is_promoted_and_rolled_back() {
        let mut policy = policy();
        assert_eq!(stage(&mut policy, 1).unwrap(), 2);
        assert_eq!((policy.current(), policy.rotated), (1, 0));
        assert_eq!(stage(&mut policy, 2).unwrap(), 3, "in place of the other");
        assert_eq!(kept(&policy), [1, 3]);
        let retention = Retention {
            rollback: true,
            ..Retention::default()
        };
        assert_eq!(promote(&mut policy, &retention, 3).unwrap(), 3);
        assert_eq!((policy.current(), policy.rotated), (3, 3));
        assert!(promote(&mut policy, &retention, 4).is_err());
        assert_eq!(roll_back(&mut policy, 5).unwrap(), 1);
        assert_eq!(roll_back(&mut policy, 6).unwrap(), 3, "and back");
        assert_eq!(rotate(&mut policy, &Retention::default(), 7).unwrap(), 4);
        assert_eq!(kept(&policy), [1, 3, 4]);
        assert!(
            roll_back(&mut policy, 7 + OVERLAP).is_err(),
            "its time is over"
        );
    }

    #[test]
    fn a_leaked_value_is_not_kept_and_cannot_come_back() {
        let mut policy = policy();
        let retention = Retention {
            rollback: true,
            ..Retention::default()
        };
        rotate(&mut policy, &retention, 1).unwrap();
        assert_eq!(rotate(&mut policy, &Retention::leaked(), 2).unwrap(), 3);
        assert_eq!(kept(&policy), [3]);
        assert!(roll_back(&mut policy, 2).is_err());
        let impossible = Retention {
            keep: 0,
            rollback: true,
            leaked: false,
        };
        assert!(rotate(&mut policy, &impossible, 3).is_err());
    }

    #[test]
    fn what_is_in_force_cannot_be_destroyed() {
        let mut policy = policy();
        stage(&mut policy, 1).unwrap();
        assert!(destroy(&mut policy, 1).is_err());
        destroy(&mut policy, 2).unwrap();
        assert!(destroy(&mut policy, 2).is_err());
        assert_eq!(kept(&policy), [1]);
    }

    proptest! {
        #[test]
        fn there_is_one_version_in_force_and_no_number_twice(
            steps in prop::collection::vec((0..6u8, 0..3i64), 1..60),
        ) {
            let mut policy = policy();
            let mut given = std::collections::BTreeSet::from([1]);
            let mut now = 0;
            for (step, passed) in steps {
                now += passed * OVERLAP / 2;
                let retention = Retention { rollback: step % 2 == 0, ..Retention::default() };
                let last = policy.last_version;
                let _ = match step {
                    0 | 1 => rotate(&mut policy, &retention, now).map(drop),
                    2 => stage(&mut policy, now).map(drop),
                    3 => promote(&mut policy, &retention, now).map(drop),
                    4 => roll_back(&mut policy, now).map(drop),
                    _ => destroy(&mut policy, last),
                };
                if policy.last_version != last {
                    prop_assert!(given.insert(policy.last_version));
                }
                let in_force = policy.versions.iter().filter(|v| v.phase == Phase::Current);
                prop_assert_eq!(in_force.count(), 1);
                prop_assert!(policy.versions.is_sorted_by_key(|version| version.number));
                prop_assert!(policy.versions.len() <= MOST_VERSIONS);
            }
        }
    }
}
