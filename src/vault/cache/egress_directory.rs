//! The egress rules of the store.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::policy::destination::Destination;
use crate::policy::egress::Asked;
use crate::policy::egress_index::EgressIndex;
use crate::vault::egress::{EgressEntry, Subject};
use crate::vault::name::Principal;

/// A rule in the store was not written by Egret. What it said is not known, so nothing is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnverifiedRule;

/// A request of a client to a destination.
#[derive(Clone, Copy, Debug)]
pub struct EgressRoute<'a> {
    /// For whom the client acts.
    pub principal: &'a Principal,
    /// The client.
    pub client: &'a str,
    /// Where to.
    pub destination: &'a Destination,
    /// What rules look at beside that.
    pub asked: Asked<'a>,
}

/// The rules of the store by host, with their numbers and whom they are about.
#[derive(Default)]
pub(super) struct EgressDirectory {
    pub(super) index: EgressIndex<(i64, Arc<Subject>)>,
    pub(super) is_unverified: bool,
    /// The same as they are stored, for people.
    pub(super) entries: BTreeMap<i64, EgressEntry>,
}

impl EgressDirectory {
    pub(super) fn new(entries: BTreeMap<i64, EgressEntry>, is_unverified: bool) -> Self {
        let mut index = EgressIndex::default();
        for (number, entry) in &entries {
            let subject = Arc::new(entry.subject.clone());
            index.add(&(*number, subject), &Arc::new(entry.rule.clone()));
        }
        Self {
            index,
            entries,
            is_unverified,
        }
    }
}
