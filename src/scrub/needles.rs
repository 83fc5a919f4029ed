//! The values to be found, as callers hold them.

use std::fmt;
use std::sync::Arc;

use super::base64_run::value_of;
use super::haystack::Haystack;
use super::hit::{Hit, Replacement};
use super::json_place::is_number;
use super::matcher::Matcher;
use super::needle::{MIN_SEARCHED, Nested};
use super::needle_index::NeedleIndex;
use super::scan::{Scan, first_reference};

use crate::secret::SecretBytes;
use crate::substitution::stand_in::StandInSearch;

/// Every value that must not come back, prepared for searching.
///
/// Immutable, and cheap to share: build one per principal when its credentials change, keep it in
/// an `Arc`, and derive the needles of a request with [`Needles::with_used`]. A clone shares what was
/// prepared.
#[derive(Clone)]
pub struct Needles {
    /// The values of the principal, then those of the request.
    indexes: Vec<Arc<NeedleIndex>>,
    hazards: ReplacementHazards,
    /// Knows what is written in place of some values instead of their placeholders.
    stand_ins: Option<Arc<StandInSearch>>,
}

/// What has to be known about all values together to choose replacements.
#[derive(Clone)]
struct ReplacementHazards {
    /// Some value can be completed by a placeholder that lands beside the rest of it.
    completed_by_placeholder: bool,
    /// The bytes that occur in some value.
    seen: [bool; 256],
    /// Some value is made of the characters of a number.
    any_number: bool,
    /// The characters of base64 that hold the last bits of a byte and the first of some value.
    before: [bool; 256],
    /// The characters of base64 that hold the first bits of such a character, in base64 within base64.
    before_nested: [bool; 256],
}

/// Tried in order for what replaces a hit that a replacement has made. None of them is part of an
/// escape, of base64 or of hex.
const FILLERS: &[u8] = b"*~^!@$|?,()'=:";

impl Needles {
    /// Prepares every form of `values` for searching.
    ///
    /// A value comes with the name under which it is put back: `slug` or `slug.field`, without
    /// the angle brackets. Values shorter than [`MIN_SEARCHED`] bytes are left out, because they
    /// are searched only for a request that used them. If two values are equal, the first is the
    /// one reported. Takes some ten microseconds per value.
    pub fn new(values: impl IntoIterator<Item = (String, Arc<SecretBytes>)>) -> Self {
        let hazards = ReplacementHazards {
            completed_by_placeholder: false,
            seen: [false; 256],
            any_number: false,
            before: [false; 256],
            before_nested: [false; 256],
        };
        Self {
            indexes: Vec::new(),
            hazards,
            stand_ins: None,
        }
        .with(NeedleIndex::new(values))
    }

    /// How many values are prepared.
    pub fn count(&self) -> usize {
        let counts = self.indexes.iter().map(|index| index.placeholders().len());
        counts.sum()
    }

    /// These needles and further values, as [`Needles::new`] takes them. It costs what those values cost,
    /// however many are here already; each look at a text costs a little more.
    pub fn with_more(&self, values: impl IntoIterator<Item = (String, Arc<SecretBytes>)>) -> Self {
        let values = values.into_iter();
        let index = NeedleIndex::new(values.filter(|(_, value)| !self.holds(value)));
        let mut more = self.clone();
        if !index.is_empty() {
            // Whether one of them is in one of the slugs is not looked at: there are many slugs.
            more.hazards.completed_by_placeholder = true;
            more.hazards.note(&index);
            more.indexes.push(Arc::new(index));
        }
        more
    }

    /// These needles and the values that one request has used, of any length.
    ///
    /// Values that are here already are not added again. Most are the very ones that these needles
    /// were made from, which is seen without looking at them.
    pub fn with_used<N>(self: &Arc<Self>, used: &[(N, Arc<SecretBytes>)]) -> Arc<Self>
    where
        N: fmt::Display,
    {
        let new: Vec<(&N, Arc<SecretBytes>)> = used
            .iter()
            .filter(|(_, value)| !self.holds(value))
            .map(|(name, value)| (name, Arc::clone(value)))
            .collect();
        if new.is_empty() {
            return Arc::clone(self);
        }
        let (long, short) = (NeedleIndex::new(new.clone()), NeedleIndex::of_short(new));
        let base = Self {
            indexes: self.indexes.clone(),
            hazards: self.hazards.clone(),
            stand_ins: self.stand_ins.clone(),
        };
        let new = [long, short].into_iter().filter(|index| !index.is_empty());
        Arc::new(new.fold(base, Self::with))
    }

    /// The same for a request in which stand-ins are searched for: what it has used by a stand-in is
    /// replaced by that.
    pub fn with_stand_ins(self: &Arc<Self>, search: &Arc<StandInSearch>) -> Arc<Self> {
        if !search.may_meet_any() {
            return Arc::clone(self);
        }
        let mut needles = Self::clone(self);
        needles.stand_ins = Some(Arc::clone(search));
        // Whether such a text completes a value was not looked at.
        needles.hazards.completed_by_placeholder = true;
        Arc::new(needles)
    }

    /// Whether there is nothing to search for: the text may pass as it is.
    pub fn is_empty(&self) -> bool {
        self.indexes.iter().all(|index| index.is_empty())
    }

    /// The `slug` or `slug.field` of a hit.
    pub fn name(&self, reference: usize) -> &str {
        let placeholder = self.placeholder(reference);
        placeholder
            .strip_prefix("<<")
            .and_then(|rest| rest.strip_suffix(">>"))
            .unwrap_or("")
    }

    /// The hits in a complete text: for the guard against values sent in the clear.
    ///
    /// Of hits that overlap, each with the next, one is listed for each value and form.
    pub fn find(&self, text: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        if let Some(mut scan) = Scan::of(&self.indexes, text) {
            scan.regions().take_until(text.len(), &mut hits);
        }
        hits
    }

    /// A value that the `name` of a field, in lower case, could be written as.
    pub fn find_in_name(&self, name: &[u8]) -> Option<Hit> {
        let mut indexes = self.indexes.iter().enumerate();
        indexes.find_map(|(number, index)| {
            if !index.fits_into(name.len()) || !index.names().may_occur(name) {
                return None;
            }
            let mut matcher = Matcher::in_any_case();
            let candidates = index.names().candidates(name);
            matcher.advance(index, Haystack::whole(name), candidates);
            let first = first_reference(&self.indexes, number);
            matcher.take_found().next().map(|found| found.hit(first, 0))
        })
    }

    pub(super) fn indexes(&self) -> &[Arc<NeedleIndex>] {
        &self.indexes
    }

    /// `<<slug>>` for a reference.
    pub(super) fn placeholder(&self, reference: usize) -> &str {
        let mut all = self.indexes.iter().flat_map(|index| index.placeholders());
        all.nth(reference).map_or("", String::as_str)
    }

    /// The text that is written in place of a value instead of its placeholder.
    pub(super) fn other_text(&self, reference: usize) -> Option<Arc<str>> {
        self.stand_ins.as_ref()?.text_for(self.name(reference))
    }

    /// Whether what is put in place of hits may make a new one together with its neighbours.
    pub(super) fn completed_by(&self, replacement: Replacement) -> bool {
        let hazards = &self.hazards;
        let any = |bytes: &[u8]| bytes.iter().any(|byte| hazards.seen[usize::from(*byte)]);
        match replacement {
            Replacement::Placeholder => hazards.completed_by_placeholder,
            Replacement::Json => hazards.completed_by_placeholder || any(b"\""),
            Replacement::Xml => hazards.completed_by_placeholder || any(b"&;"),
            // It ends in a letter, with which a value may begin. Texts are short where it is used.
            Replacement::Percent => true,
            Replacement::SameLength => any(b"*"),
        }
    }

    /// Whether some value is made of the characters of a number.
    pub(super) fn any_number(&self) -> bool {
        self.hazards.any_number
    }

    /// Whether this character of base64 may hold bits of a value, and of a byte before it.
    pub(super) fn may_precede(&self, char: u8) -> bool {
        self.hazards.before[usize::from(char)]
    }

    /// How many characters at the end of `text` may have to be written again with a value in base64 that
    /// follows: the one that holds bits of both; or two, which together hold such a character of base64
    /// within base64.
    pub(super) fn shared_at_end(&self, text: &[u8]) -> usize {
        if let Some(&[first, second]) = text.last_chunk()
            && let (Some(first), Some(second)) = (value_of(first), value_of(second))
        {
            let bits = u32::from(first) << 6 | u32::from(second);
            let may_be = |offset| {
                let char = (bits >> offset) as u8;
                value_of(char).is_some() && self.may_precede(char)
            };
            if [0, 2, 4].into_iter().any(may_be) {
                return 2;
            }
        }
        let is_shared = |char: &u8| {
            // The second of the two may be what comes next.
            self.may_precede(*char) || self.hazards.before_nested[usize::from(*char)]
        };
        usize::from(text.last().is_some_and(is_shared))
    }

    /// A character that no value contains, if there is one.
    pub(super) fn filler(&self) -> u8 {
        let seen = &self.hazards.seen;
        let unseen = FILLERS.iter().find(|filler| !seen[usize::from(**filler)]);
        *unseen.unwrap_or(&FILLERS[0])
    }

    fn with(mut self, index: NeedleIndex) -> Self {
        let long = self.hazards.note(&index);
        self.indexes.push(Arc::new(index));
        // A slug may itself spell a value. Short ones are found in slugs by mere chance, and a
        // long one that is not new has been looked for in the older slugs before.
        let old = self.indexes.len() - 1;
        let searched = if long { 0..=old } else { old..=old };
        let mut texts = self.indexes[searched]
            .iter()
            .flat_map(|index| index.placeholders());
        let spelled = texts.any(|text| {
            self.find(text.as_bytes())
                .iter()
                .any(|hit| hit.length >= MIN_SEARCHED)
        });
        self.hazards.completed_by_placeholder |= spelled;
        self
    }

    /// Whether a value of at least [`MIN_SEARCHED`] bytes is searched for.
    fn holds(&self, value: &Arc<SecretBytes>) -> bool {
        is_long(value.expose()) && self.indexes.iter().any(|index| index.holds(value))
    }
}

impl ReplacementHazards {
    /// Takes the values of an index into account. Whether one of them is long.
    fn note(&mut self, index: &NeedleIndex) -> bool {
        let mut long = false;
        for value in index.values().filter(|value| is_long(value)) {
            long = true;
            value
                .iter()
                .for_each(|byte| self.seen[usize::from(*byte)] = true);
            self.completed_by_placeholder |= meets_placeholder(value);
            self.any_number |= value.iter().all(|byte| is_number(*byte));
            mark_before(value[0], &mut self.before);
            for nested in Nested::all(value) {
                mark_before(nested.first(value), &mut self.before);
            }
        }
        if long {
            mark_before_nested(&self.before, &mut self.before_nested);
        }
        long
    }
}

fn is_long(value: &[u8]) -> bool {
    value.len() >= MIN_SEARCHED
}

/// Whether a value can overlap `<<slug>>` without lying inside the slug: it ends with the start of
/// a placeholder, begins with the end of one, or contains one.
fn meets_placeholder(value: &[u8]) -> bool {
    value.starts_with(b">")
        || value.ends_with(b"<")
        || value.windows(2).any(|pair| matches!(pair, b"<<" | b">>"))
}

/// Marks the characters of base64 whose last four or two bits are the first ones of a value.
fn mark_before(first: u8, before: &mut [bool; 256]) {
    for char in 0..=u8::MAX {
        if let Some(bits) = value_of(char) {
            before[usize::from(char)] |= bits & 15 == first >> 4 || bits & 3 == first >> 6;
        }
    }
}

/// Marks the characters of base64 that hold the first six, four or two bits of a character in `before`.
fn mark_before_nested(before: &[bool; 256], nested: &mut [bool; 256]) {
    let shared = (0..=u8::MAX).filter(|char| before[usize::from(*char)]);
    for shared in shared.filter(|char| value_of(*char).is_some()) {
        for char in 0..=u8::MAX {
            if let Some(bits) = value_of(char) {
                nested[usize::from(char)] |=
                    bits == shared >> 2 || bits & 15 == shared >> 4 || bits & 3 == shared >> 6;
            }
        }
    }
}

impl fmt::Debug for Needles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not even how many: names and counts are not the business of a log line.
        f.write_str("Needles(redacted)")
    }
}
