//! What was found in an answer, on its way to the ledger.

use std::collections::{BTreeMap, BTreeSet};

use crate::ledger::{EncodedEntries, Entry, event};
use crate::proxy::exchange::request_context::RequestContext;
use crate::proxy::runtime::measures::measures;
use crate::scrub::{Hit, Needles};

/// Most different findings that one answer leaves in the ledger.
const FINDINGS: usize = 64;

/// What was found in an answer, for its `scrubbed` lines.
#[derive(Default)]
pub struct Findings {
    /// What there is no line about yet.
    fresh: BTreeSet<(String, String)>,
    /// What there is one about: a conversation can last for days.
    reported: BTreeSet<(String, String)>,
}

impl Findings {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.reported.is_empty()
    }

    /// Notes the hits of one place.
    pub fn add(&mut self, needles: &Needles, place: &str, hits: &[Hit]) {
        if hits.is_empty() {
            return;
        }
        measures().scrub(place, hits.len());
        for hit in hits.iter().take(FINDINGS) {
            if self.fresh.len() + self.reported.len() < FINDINGS {
                let name = needles.name(hit.reference).to_owned();
                let found = (name, format!("{place} ({})", hit.form.as_str()));
                if !self.reported.contains(&found) {
                    self.fresh.insert(found);
                }
            }
        }
    }

    /// Takes what was found as ledger lines, one for each value.
    pub fn take_entries(&mut self, context: &RequestContext) -> EncodedEntries {
        if self.fresh.is_empty() {
            return EncodedEntries::default();
        }
        let mut places = BTreeMap::<_, Vec<_>>::new();
        for (name, found) in std::mem::take(&mut self.fresh) {
            places
                .entry(name.clone())
                .or_default()
                .push(found.clone().into());
            self.reported.insert((name, found));
        }
        let lines = places.iter().map(|(name, locations)| Entry {
            locations: locations.clone(),
            outcome: Some("scrubbed".into()),
            ..context.entry_named(event::SCRUBBED, name)
        });
        lines.collect()
    }
}
