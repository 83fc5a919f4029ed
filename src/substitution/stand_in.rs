//! Stand-ins: texts that look like a key and mean a placeholder, for programs that check what a key
//! looks like.
//!
//! A stand-in is no secret. Each holds a [mark](MARKS), so that a text is searched for two short strings
//! however many stand-ins there are; what is found there is then compared with the whole of those that
//! are known. They are made of characters that no encoding of a request changes, so they are compared
//! as they are; inside of Basic credentials after the base64 was opened.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use memchr::memmem;

use super::slug::{Reference, Slug};

/// One of these is in every stand-in: the first where letters are allowed, the second where only
/// hexadecimal digits are.
pub const MARKS: [&str; 2] = ["EGRET", "e9e7e9e7"];
/// The longest stand-in, in bytes. It is shorter than what a stream may hold back.
pub const LONGEST: usize = 256;
/// How many bytes after the mark are looked up.
const KEY: usize = 8;

/// One stand-in.
#[derive(Clone, Debug)]
pub struct StandIn {
    /// What requests hold.
    pub text: Arc<str>,
    /// In whose requests.
    pub owner: Arc<str>,
    /// Which credential of theirs it means.
    pub slug: Slug,
    /// Whether it was taken back.
    pub is_revoked: bool,
}

/// Whether a text can be a stand-in.
pub fn is_well_formed(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= LONGEST && text.bytes().all(is_plain) && key(text).is_some()
}

/// Where the mark of a stand-in is, and what follows it.
fn key(text: &str) -> Option<(usize, [u8; KEY])> {
    let marks = MARKS
        .iter()
        .filter_map(|mark| Some((text.find(mark)?, mark.len())));
    let (at, length) = marks.min()?;
    let after = text.as_bytes().get(at + length..)?.first_chunk()?;
    Some((at, *after))
}

/// Every stand-in there is, prepared for searching.
#[derive(Default)]
pub struct StandIns {
    all: Vec<StandIn>,
    /// By what follows the mark: where the mark is in the text, and which it is.
    by_key: HashMap<[u8; KEY], Vec<(usize, usize)>>,
    /// How they begin, up to and with the mark, and how long the longest of them is.
    beginnings: Vec<(Vec<u8>, usize)>,
    /// Who has some that work.
    owners: HashSet<Arc<str>>,
}

impl StandIns {
    /// Prepares these. One that is not well formed is left out.
    pub fn new(all: Vec<StandIn>) -> Self {
        let mut known = Self::default();
        for stand_in in all {
            let Some((at, key)) = key(&stand_in.text).filter(|_| is_well_formed(&stand_in.text))
            else {
                continue;
            };
            let number = known.all.len();
            known.by_key.entry(key).or_default().push((at, number));
            let (text, length) = (stand_in.text.as_bytes(), stand_in.text.len());
            let mark = MARKS
                .iter()
                .find(|mark| text[at..].starts_with(mark.as_bytes()));
            let beginning = &text[..at + mark.map_or(0, |mark| mark.len())];
            match known
                .beginnings
                .iter_mut()
                .find(|(own, _)| own == beginning)
            {
                Some((_, longest)) => *longest = length.max(*longest),
                None => known.beginnings.push((beginning.to_vec(), length)),
            }
            if !stand_in.is_revoked {
                known.owners.insert(Arc::clone(&stand_in.owner));
            }
            known.all.push(stand_in);
        }
        known
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Where which of them is in a text, in order and without overlap.
    fn find(&self, text: &[u8]) -> Vec<(Range<usize>, usize)> {
        let mut found = Vec::new();
        for mark in MARKS {
            for at in memmem::find_iter(text, mark) {
                let after = text[at + mark.len()..].first_chunk::<KEY>();
                let candidates = after.and_then(|key| self.by_key.get(key));
                for (offset, number) in candidates.into_iter().flatten() {
                    let Some(start) = at.checked_sub(*offset) else {
                        continue;
                    };
                    let own = self.all[*number].text.as_bytes();
                    if text[start..].starts_with(own) {
                        found.push((start..start + own.len(), *number));
                    }
                }
            }
        }
        found.sort_by_key(|(span, number)| (span.start, *number));
        let mut end = 0;
        found.retain(|(span, _)| {
            let is_next = span.start >= end;
            if is_next {
                end = span.end;
            }
            is_next
        });
        found
    }

    /// Where a stand-in may begin that the end of `text` cuts off, from `from` on.
    fn cut(&self, text: &[u8], from: usize) -> Option<usize> {
        let longest = self.beginnings.iter().map(|(_, longest)| *longest).max()?;
        let from = from.max((text.len() + 1).saturating_sub(longest));
        (from..text.len()).find(|at| self.may_begin(&text[*at..]))
    }

    fn may_begin(&self, rest: &[u8]) -> bool {
        self.beginnings.iter().any(|(beginning, longest)| {
            if rest.len() <= beginning.len() {
                beginning.starts_with(rest)
            } else {
                rest.len() < *longest && rest.starts_with(beginning)
            }
        })
    }
}

/// The search of one request, or of one conversation.
pub struct StandInSearch {
    known: Arc<StandIns>,
    /// In whose name is asked; nobody's where every stand-in is another's.
    caller: Option<Arc<str>>,
    met: Mutex<Vec<usize>>,
}

impl StandInSearch {
    /// A search on behalf of `caller`.
    pub fn new(known: Arc<StandIns>, caller: Option<Arc<str>>) -> Self {
        Self {
            known,
            caller,
            met: Mutex::default(),
        }
    }

    /// Whether one may be in a text. `false` is certain, and cheap.
    pub fn may_be_in(&self, text: &[u8]) -> bool {
        MARKS
            .iter()
            .any(|mark| memmem::find(text, mark.as_bytes()).is_some())
    }

    /// What is in a text: where, and what it names. One that is another's, or was taken back, names
    /// nothing that there could be.
    pub(super) fn find(&self, text: &[u8]) -> Vec<(Range<usize>, Reference)> {
        let found = self.known.find(text).into_iter();
        found
            .map(|(span, number)| (span, self.reference(number)))
            .collect()
    }

    /// Where one may begin that the end of `text` cuts off, from `from` on.
    pub(super) fn cut(&self, text: &[u8], from: usize) -> Option<usize> {
        self.known.cut(text, from)
    }

    fn reference(&self, number: usize) -> Reference {
        let stand_in = &self.known.all[number];
        let is_own = self
            .caller
            .as_ref()
            .is_some_and(|caller| *caller == stand_in.owner);
        if !is_own || stand_in.is_revoked {
            let slug = Slug::of_unknown_stand_in();
            return Reference { slug, field: None };
        }
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if !met.contains(&number) {
            met.push(number);
        }
        Reference {
            slug: stand_in.slug.clone(),
            field: None,
        }
    }

    /// Whether the caller has any.
    pub fn may_meet_any(&self) -> bool {
        self.caller
            .as_ref()
            .is_some_and(|caller| self.known.owners.contains(caller))
    }

    /// The stand-in that the caller used for a credential, by its slug: answers get it back.
    pub fn text_for(&self, slug: &str) -> Option<Arc<str>> {
        let met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stand_ins = met.iter().map(|number| &self.known.all[*number]);
        let used = stand_ins.find(|known| known.slug.as_str() == slug)?;
        Some(Arc::clone(&used.text))
    }
}

impl fmt::Debug for StandInSearch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandInSearch").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GITHUB: &str = "ghp_EGRET0123456789abcdefghijklmnopqrstu";
    const OTHER: &str = "ghp_EGRETzyxwvutsrqponmlkjihgfedcba98765";
    const UUID: &str = "e9e7e9e7-1234-4abc-8def-0123456789ab";

    fn search(caller: &str) -> StandInSearch {
        let stand_in = |text: &str, owner: &str, is_revoked| StandIn {
            text: text.into(),
            owner: owner.into(),
            slug: Slug::parse("pat").unwrap(),
            is_revoked,
        };
        let all = vec![
            stand_in(GITHUB, "ann", false),
            stand_in(OTHER, "ben", false),
            stand_in(UUID, "ann", true),
            stand_in("without-a-mark", "ann", false),
        ];
        StandInSearch::new(Arc::new(StandIns::new(all)), Some(caller.into()))
    }

    fn found(search: &StandInSearch, text: &str) -> Vec<String> {
        let found = search.find(text.as_bytes()).into_iter();
        found
            .map(|(span, named)| format!("{} {named}", &text[span]))
            .collect()
    }

    #[test]
    fn it_means_the_credential_of_its_owner_and_nothing_to_others() {
        let text = format!("Bearer {GITHUB}, {OTHER} {UUID}x EGRETEGRETEGRET");
        let ann = search("ann");
        let expected = [
            format!("{GITHUB} pat"),
            format!("{OTHER} (stand-in)"),
            format!("{UUID} (stand-in)"),
        ];
        assert_eq!(found(&ann, &text), expected);
        assert_eq!(ann.text_for("pat").as_deref(), Some(GITHUB));
        assert!(ann.text_for("other").is_none());
        let eve = search("eve");
        assert!(
            found(&eve, &text)
                .iter()
                .all(|one| one.ends_with(" (stand-in)"))
        );
        assert!(eve.text_for("pat").is_none());
        assert!(ann.may_meet_any() && !eve.may_meet_any());
    }

    #[test]
    fn only_the_whole_of_it_counts() {
        let ann = search("ann");
        for text in [
            &GITHUB[1..],
            &GITHUB[..39],
            "ghp_EGRET",
            "EGRET01234567",
            "",
        ] {
            assert!(found(&ann, text).is_empty(), "{text}");
        }
        assert!(!is_well_formed("ghp_EGRET"));
        assert!(!is_well_formed(&format!("{GITHUB} x")));
        assert!(is_well_formed(GITHUB) && is_well_formed(UUID));
    }

    proptest! {
        /// What is cut off at the end is waited for, wherever the text is cut.
        #[test]
        fn a_text_in_pieces_reads_like_the_whole(
            before in "[a-zE9\" ]{0,12}", after in "[a-zE9\" ]{0,12}", at in 0..80_usize,
        ) {
            let text = format!("{before}{GITHUB}{after}");
            let ann = search("ann");
            let start = text.find(GITHUB).unwrap();
            let at = at.min(text.len());
            let cut = ann.cut(&text.as_bytes()[..at], 0).unwrap_or(at);
            if at < start + GITHUB.len() {
                prop_assert!(cut <= start.min(at));
            }
            prop_assert!(ann.find(&text.as_bytes()[..at]).len() <= 1);
        }
    }
}
