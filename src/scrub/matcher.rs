//! Comparing needles with the text, in every reading that the text allows.
//!
//! The text is read once, from left to right. At each position the matcher knows the *partial
//! matches* that reach it: how a reading of the text before it begins a needle. Escapes make
//! readings part and meet again, so there may be several at a position.
//!
//! # The time it takes
//!
//! Is linear in the text, whatever the text and the values:
//!
//! * Partial matches that agree in all but where they began are one from there on.
//! * Of partial matches in unescaped text only the longest of a class is followed. What begins
//!   inside it is dropped, and recovered from the [failure links](super::failure_links) when the
//!   longest one fails. Without that, a value `aaaa…` of four KiB in a text of the same letter
//!   would be compared from every position to its end.
//! * A text in which more than [`MAX_DEEP`] other partial matches meet at one position, each as
//!   long as the window of the filter, is taken for a hit: from where the first of them began to
//!   the first byte that no needle contains. Only a value that repeats itself, in a text that
//!   writes it with escapes, or one that contains escapes of its own characters leads to that. Too
//!   much is replaced then, never too little.

use std::collections::{HashMap, VecDeque};

use super::escapes::{Escapes, Notations, TextUnit, introduces};
use super::filter::GROUP;
use super::gap::Gap;
use super::haystack::Haystack;
use super::hit::Hit;
use super::needle::{HitForm, Needle, NeedleClass};
use super::needle_index::NeedleIndex;
use super::trie::TrieNode;

/// The most partial matches of one class at one position that agree with a window and more.
const MAX_DEEP: usize = 8;

/// The most partial matches of one class at one position, however short.
const MAX_ALL: usize = 64;

/// The most failure links that are followed for one character.
const MAX_FALLS: usize = 32;

/// A place in the text that reads as a needle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub start: usize,
    pub end: usize,
    pub form: HitForm,
    /// As in a hit.
    pub shift: u8,
    /// As in a hit.
    pub inner: Option<u8>,
    /// Index of the value's name in the index of needles.
    pub name: u32,
    /// The end of this match and of those like it that overlap it, each with the next.
    pub covered: usize,
}

impl Match {
    /// As a hit in a stream whose text at hand begins at `base`. References are counted from `first`.
    pub fn hit(&self, first: usize, base: u64) -> Hit {
        Hit {
            reference: first + self.name as usize,
            form: self.form,
            shift: self.shift,
            inner: self.inner,
            offset: base + self.start as u64,
            length: self.end - self.start,
        }
    }
}

/// One reading of the text so far, and the needles that agree with it.
#[derive(Clone, Copy, Debug)]
struct PartialMatch {
    /// Position of the next byte to be read.
    pos: usize,
    /// Where the match would begin.
    start: usize,
    /// All bytes from here to `pos` were read as themselves, each as one character.
    literal_from: usize,
    node: TrieNode,
    class: NeedleClass,
    gap: Gap,
    notations: Notations,
    /// A `+` was read as a space.
    plus: bool,
    /// Partial matches that began inside this one are not followed on their own. All bytes of it
    /// can be read as themselves.
    stands_for_others: bool,
    /// There were too many: any character that is in some needle goes on with this one.
    saturated: bool,
}

impl PartialMatch {
    fn new(class: NeedleClass, node: TrieNode, start: usize, pos: usize) -> Self {
        Self {
            pos,
            start,
            literal_from: start,
            node,
            class,
            gap: Gap::None,
            notations: Notations::NONE,
            plus: false,
            stands_for_others: false,
            saturated: false,
        }
    }

    /// Whether all that was read can be read as it is.
    fn is_literal(&self) -> bool {
        self.pos - self.literal_from >= self.node.depth as usize
    }

    fn goes_on_like(&self, other: &Self) -> bool {
        let alike = (self.class, self.saturated) == (other.class, other.saturated);
        alike && (self.saturated || (self.node, self.gap) == (other.node, other.gap))
    }

    /// Joins one that goes on in the same way.
    fn join(&mut self, other: &Self) {
        let first = |one: &Self| (one.start, one.notations, one.plus);
        if first(other) < first(self) {
            (self.start, self.notations, self.plus) = first(other);
        }
        self.literal_from = self.literal_from.min(other.literal_from);
        self.stands_for_others |= other.stands_for_others;
    }

    /// Whether `other`, at the same position, is the end of this one, both read as they are.
    fn contains(&self, other: &Self) -> bool {
        (self.class, self.gap) == (other.class, other.gap)
            && self.node.depth > other.node.depth
            && self.is_literal()
            && other.is_literal()
    }
}

/// The search for the needles of one index.
#[derive(Default)]
pub(super) struct Matcher {
    /// Not in order: there are few.
    partial: Vec<PartialMatch>,
    /// Those at the position that is being read.
    here: Vec<PartialMatch>,
    /// Candidates still to be looked at: those whose first bytes can only be read as themselves…
    plain: VecDeque<usize>,
    /// …and all others.
    others: VecDeque<usize>,
    /// Letters stand for themselves in either case.
    any_case: bool,
    found: Vec<Match>,
    /// Where needles were last found inside a longer partial match.
    inside: HashMap<(NeedleClass, u32), usize>,
}

/// What is read, and where.
struct Step<'a> {
    index: &'a NeedleIndex,
    text: Haystack<'a>,
    at: usize,
}

/// Needle characters that the text has at [`Step::at`].
#[derive(Clone, Copy)]
struct Characters<'a> {
    chars: &'a [u8],
    /// Position after them.
    next: usize,
    notations: Notations,
    plus: bool,
    gap: Gap,
    /// One byte that is read as itself, and can be read in no other way.
    is_literal: bool,
}

impl Matcher {
    /// A matcher for a text in which letters stand for themselves in either case.
    pub fn in_any_case() -> Self {
        Self {
            any_case: true,
            ..Self::default()
        }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.partial.is_empty() && self.plain.is_empty() && self.others.is_empty()
    }

    /// Where the first match begins that bytes to come can complete or prolong.
    pub fn open_from(&self) -> Option<usize> {
        let partial = self.partial.iter().map(|partial| partial.start).min();
        let starts = [
            partial,
            self.plain.front().copied(),
            self.others.front().copied(),
        ];
        starts.into_iter().flatten().min()
    }

    /// Where the first partial match begins, and the name of the first value that it may be.
    pub fn first_open(&self, index: &NeedleIndex) -> Option<(usize, u32)> {
        let first = self.partial.iter().min_by_key(|partial| partial.start)?;
        let needles = index.trie(first.class).needles();
        Some((first.start, needles[first.node.low as usize].name))
    }

    /// What was found since this was last asked.
    pub fn take_found(&mut self) -> std::vec::Drain<'_, Match> {
        self.found.drain(..)
    }

    /// Makes room before the text loses its first `count` bytes, which are all decided.
    pub fn shift(&mut self, count: usize) {
        for partial in &mut self.partial {
            partial.pos -= count;
            partial.start -= count;
            partial.literal_from = partial.literal_from.saturating_sub(count);
        }
        for candidate in self.plain.iter_mut().chain(&mut self.others) {
            *candidate -= count;
        }
        self.inside.retain(|_, end| {
            *end = end.saturating_sub(count);
            *end > 0
        });
    }

    /// Takes sorted candidates that are new, and reads as far as the text goes.
    pub fn advance(
        &mut self,
        index: &NeedleIndex,
        text: Haystack<'_>,
        candidates: impl Iterator<Item = usize>,
    ) {
        for candidate in candidates {
            if !self.any_case && index.is_plain(text, candidate) {
                self.plain.push_back(candidate);
            } else {
                self.others.push_back(candidate);
            }
        }
        while let Some(at) = self.next_position().filter(|&at| at < text.bytes.len()) {
            if !self.read_at(&Step { index, text, at }) {
                return;
            }
        }
        if text.complete {
            self.partial.clear();
            self.plain.clear();
            self.others.clear();
        }
        if self.partial.is_empty() {
            self.inside.clear();
        }
    }

    fn next_position(&self) -> Option<usize> {
        let partial = self.partial.iter().map(|partial| partial.pos).min();
        let plain = self.plain.front().map(|start| start + GROUP);
        let positions = [partial, plain, self.others.front().copied()];
        positions.into_iter().flatten().min()
    }

    /// Reads one unit in every way. Returns false if the text ends inside it.
    fn read_at(&mut self, step: &Step<'_>) -> bool {
        let byte = step.text.bytes[step.at];
        let escapes = introduces(byte).then(|| step.index.escapes(step.text, step.at));
        let literal = TextUnit::literal(byte, step.at);
        self.gather(step, &literal, escapes.as_ref());
        if escapes.as_ref().is_some_and(|escapes| escapes.undecided) {
            self.partial.append(&mut self.here);
            return false;
        }
        let here = std::mem::take(&mut self.here);
        for partial in &here {
            for unit in escapes.iter().flat_map(Escapes::iter) {
                self.read(step, partial, unit);
            }
            self.read(step, partial, &literal);
        }
        self.here = here;
        self.here.clear();
        true
    }

    /// Collects the partial matches at this position, with those that begin here.
    fn gather(&mut self, step: &Step<'_>, literal: &TextUnit, escapes: Option<&Escapes>) {
        let mut at = 0;
        while at < self.partial.len() {
            if self.partial[at].pos == step.at {
                self.here.push(self.partial.swap_remove(at));
            } else {
                at += 1;
            }
        }
        if self.others.front() == Some(&step.at) {
            self.others.pop_front();
            for (class, root) in step.index.roots() {
                // What begins inside of a stretch that is taken for a hit would be joined to it.
                let is_saturated = |one: &PartialMatch| one.saturated && one.class == class;
                let is_undecided = escapes.is_some_and(|escapes| escapes.undecided);
                let mut units = escapes
                    .iter()
                    .flat_map(|escapes| escapes.iter())
                    .chain([literal]);
                let may_begin = is_undecided
                    || self.any_case
                    || units.any(|unit| step.index.may_occur(class, unit.bytes()));
                if may_begin && !self.here.iter().any(is_saturated) {
                    let begun = PartialMatch::new(class, root, step.at, step.at);
                    self.here.push(begun);
                }
            }
        }
        if let Some(&start) = self.plain.front()
            && start + GROUP == step.at
        {
            self.plain.pop_front();
            self.begin_plain(step, start);
        }
        if self.here.len() > 1 {
            self.join(step);
            self.limit(step);
        }
    }

    /// Begins with the four bytes before this position, unless there is a longer partial match that
    /// contains them.
    fn begin_plain(&mut self, step: &Step<'_>, start: usize) {
        for (class, root) in step.index.roots() {
            let longer = self.here.iter_mut().find(|longer| {
                let contains = longer.is_literal() && longer.node.depth > GROUP as u32;
                longer.class == class && (longer.saturated || contains)
            });
            if let Some(longer) = longer
                && (longer.saturated || step.index.failure_links().is_some())
            {
                longer.stands_for_others = !longer.saturated;
                continue;
            }
            let bytes = step.text.bytes[start..step.at].iter();
            let mut chars = bytes.map(|&byte| class.matched_by(byte).0);
            let (trie, sources) = (step.index.trie(class), step.index.sources());
            if let Some(node) = chars.try_fold(root, |node, char| trie.step(sources, node, char)) {
                let mut begun = PartialMatch::new(class, node, start, step.at);
                if class == NeedleClass::Hex {
                    begun.gap = Gap::Dense;
                }
                self.here.push(begun);
            }
        }
    }

    /// Joins partial matches that go on alike, and drops those that a longer one contains.
    fn join(&mut self, step: &Step<'_>) {
        let mut kept = 0;
        for at in 0..self.here.len() {
            let one = self.here[at];
            let mut before = self.here[..kept].iter_mut();
            if let Some(other) = before.find(|other| other.goes_on_like(&one)) {
                other.join(&one);
            } else {
                self.here[kept] = one;
                kept += 1;
            }
        }
        self.here.truncate(kept);
        let shortest = step.index.shortest_begun();
        let mut at = 0;
        while !self.any_case && at < self.here.len() {
            let one = self.here[at];
            let longer = self.here.iter_mut().find(|longer| longer.contains(&one));
            if let Some(longer) = longer
                && one.node.depth >= shortest
                && step.index.failure_links().is_some()
            {
                longer.stands_for_others = true;
                self.here.swap_remove(at);
            } else {
                at += 1;
            }
        }
    }

    /// Holds the number of partial matches to its limits.
    fn limit(&mut self, step: &Step<'_>) {
        for (class, _) in step.index.roots() {
            let (mut all, mut deep, mut saturated) = (0, 0, false);
            for partial in self.here.iter().filter(|partial| partial.class == class) {
                all += 1;
                deep += usize::from(partial.node.depth >= step.index.window());
                saturated |= partial.saturated;
            }
            if saturated && all > 1 || deep > MAX_DEEP || all > MAX_ALL {
                self.saturate(step, class);
            }
        }
    }

    /// Puts one in place of all partial matches of a class at this position.
    fn saturate(&mut self, step: &Step<'_>, class: NeedleClass) {
        let rank = |partial: &PartialMatch| {
            let node = partial.node;
            (partial.saturated, node.depth, std::cmp::Reverse(node.low))
        };
        let of_class = self.here.iter().filter(|partial| partial.class == class);
        let joined = of_class.copied().reduce(|one, other| PartialMatch {
            start: one.start.min(other.start),
            ..if rank(&one) < rank(&other) {
                other
            } else {
                one
            }
        });
        self.here.retain(|partial| partial.class != class);
        if let Some(joined) = joined {
            let saturated = self.saturated(step, &joined);
            self.here.push(saturated);
        }
    }

    /// Takes a partial match for a hit, and what follows as far as it is made of characters of
    /// needles.
    fn saturated(&mut self, step: &Step<'_>, partial: &PartialMatch) -> PartialMatch {
        let trie = step.index.trie(partial.class);
        self.emit(
            partial,
            partial.start,
            &trie.needles()[partial.node.low as usize],
        );
        PartialMatch {
            // The hit is open at its end only.
            start: partial.pos - 1,
            saturated: true,
            stands_for_others: false,
            ..*partial
        }
    }

    /// Reads on with one unit.
    fn read(&mut self, step: &Step<'_>, partial: &PartialMatch, unit: &TextUnit) {
        if partial.saturated {
            return self.read_anything(step, partial, unit);
        }
        let mut read = Characters {
            chars: unit.bytes(),
            next: unit.next,
            notations: unit.notations,
            plus: false,
            gap: partial.gap,
            is_literal: unit.notations.is_empty(),
        };
        let &[byte] = unit.bytes() else {
            // The UTF-8 of one character: a needle may not end inside it.
            return self.descend(step, partial, read);
        };
        let depth = partial.node.depth;
        match partial.class {
            NeedleClass::Base64 => {
                let gap = partial.gap;
                match gap.after_line_break(step.text, step.at, depth, byte) {
                    Some(gap) => return self.pass_gap(step, partial, Characters { gap, ..read }),
                    None if gap == Gap::Cr => return,
                    None => read.gap = Gap::None,
                }
            }
            NeedleClass::Hex => match partial.gap.after_hex(depth, byte) {
                Some(gap @ Gap::After(_)) => {
                    return self.pass_gap(step, partial, Characters { gap, ..read });
                }
                Some(gap) => read.gap = gap,
                None => return,
            },
            NeedleClass::Exact | NeedleClass::Short => {}
        }
        let (char, space) = partial.class.matched_by(byte);
        read.is_literal &= space.is_none();
        self.descend_in_any_case(step, partial, read, char);
        if let Some(space) = space {
            read.plus = true;
            self.descend_in_any_case(step, partial, read, space);
        }
    }

    fn descend_in_any_case(
        &mut self,
        step: &Step<'_>,
        partial: &PartialMatch,
        read: Characters<'_>,
        char: u8,
    ) {
        let chars = &[char];
        self.descend(step, partial, Characters { chars, ..read });
        if self.any_case && char.is_ascii_alphabetic() {
            let chars = &[char ^ 0x20];
            self.descend(step, partial, Characters { chars, ..read });
        }
    }

    /// Reads characters of needles, with this partial match and with those it stands for. In
    /// literal text the longest that can read them stands for the others again; otherwise each is
    /// on its own from here on.
    fn descend(&mut self, step: &Step<'_>, partial: &PartialMatch, read: Characters<'_>) {
        let (trie, sources) = (step.index.trie(partial.class), step.index.sources());
        let mut from = *partial;
        for _ in 0..MAX_FALLS {
            let reached = trie.follow(sources, from.node, read.chars);
            if let Ok(node) = reached {
                self.reach(
                    step,
                    &PartialMatch {
                        node,
                        ..read.appended_to(&from)
                    },
                );
                if read.is_literal {
                    return;
                }
            }
            match step.shorter(&from, reached == Err(0)) {
                Some(shorter) => from = shorter,
                None => return,
            }
        }
        self.give_up(step, partial, read.next);
    }

    /// Passes what stands between two characters.
    fn pass_gap(&mut self, step: &Step<'_>, partial: &PartialMatch, read: Characters<'_>) {
        let mut from = *partial;
        for _ in 0..MAX_FALLS {
            self.partial.push(read.appended_to(&from));
            match step.shorter(&from, false) {
                Some(shorter) => from = shorter,
                None => return,
            }
        }
        self.give_up(step, partial, read.next);
    }

    /// There is too much to follow.
    fn give_up(&mut self, step: &Step<'_>, partial: &PartialMatch, next: usize) {
        let saturated = PartialMatch {
            pos: next,
            ..*partial
        };
        let saturated = self.saturated(step, &saturated);
        self.partial.push(saturated);
    }

    /// Reads on with any character that is in some needle.
    fn read_anything(&mut self, step: &Step<'_>, partial: &PartialMatch, unit: &TextUnit) {
        let class = partial.class;
        if unit
            .bytes()
            .iter()
            .all(|&byte| step.index.occurs(class, byte))
        {
            self.give_up(step, partial, unit.next);
        }
    }

    /// Takes down that a partial match has become longer, and whether a needle ends with it.
    fn reach(&mut self, step: &Step<'_>, partial: &PartialMatch) {
        let trie = step.index.trie(partial.class);
        let ended = trie.ended(partial.node);
        if let Some(needle) = ended {
            self.emit(partial, partial.start, needle);
        }
        if partial.stands_for_others {
            self.emit_inside(step, partial, ended.is_some());
        }
        if partial.stands_for_others || trie.continues(partial.node) {
            self.partial.push(*partial);
        }
    }

    /// Finds the needles that end here and begin inside the partial match.
    fn emit_inside(&mut self, step: &Step<'_>, partial: &PartialMatch, mut is_covered: bool) {
        let class = partial.class;
        let Some(links) = step.index.failure_links() else {
            return;
        };
        let (mut needle, mut len) = (partial.node.low, partial.node.depth);
        while let Some(output) = links.output(class, needle, len) {
            let found = &step.index.trie(class).needles()[output as usize];
            let start = partial.pos - found.len as usize;
            let before = self.inside.insert((class, output), partial.pos);
            // All that ends inside it was found then, and is part of the same stretch of hits.
            if is_covered && before.is_some_and(|end| end > start) {
                return;
            }
            self.emit(&partial.literally(), start, found);
            is_covered = true;
            (needle, len) = (output, found.len);
        }
    }

    /// Hits of the same kind that overlap, one after the other, are kept as one.
    fn emit(&mut self, partial: &PartialMatch, start: usize, needle: &Needle) {
        let form = needle.form(partial.notations, partial.plus);
        if let Some(last) = self.found.last_mut()
            && (last.name, last.form) == (needle.name, form)
            && (last.start..last.covered).contains(&start)
            && partial.pos >= last.covered
        {
            last.covered = partial.pos;
            if start == last.start {
                last.end = partial.pos;
            }
            return;
        }
        self.found.push(Match {
            start,
            end: partial.pos,
            form,
            shift: needle.shift(),
            inner: needle.inner(),
            name: needle.name,
            covered: partial.pos,
        });
    }
}

impl Step<'_> {
    /// The next shorter one of those that `partial` stands for. If `failed`, it is one that may go
    /// on with other characters than `partial`.
    fn shorter(&self, partial: &PartialMatch, failed: bool) -> Option<PartialMatch> {
        if !partial.stands_for_others {
            return None;
        }
        let links = self.index.failure_links()?;
        let node = if failed {
            links.other(partial.class, partial.node)?
        } else {
            links.fail(partial.class, partial.node)?
        };
        Some(PartialMatch {
            node,
            start: self.at - node.depth as usize,
            ..partial.literally()
        })
    }
}

impl PartialMatch {
    /// As it is where all of it is read as it is.
    fn literally(&self) -> Self {
        Self {
            notations: Notations::NONE,
            plus: false,
            ..*self
        }
    }
}

impl Characters<'_> {
    /// `partial` with these after it; all but the node.
    fn appended_to(&self, partial: &PartialMatch) -> PartialMatch {
        PartialMatch {
            pos: self.next,
            literal_from: if self.is_literal {
                partial.literal_from
            } else {
                self.next
            },
            gap: self.gap,
            notations: partial.notations.with(self.notations),
            plus: partial.plus | self.plus,
            stands_for_others: partial.stands_for_others && self.is_literal,
            ..*partial
        }
    }
}
