//! A set of values prepared for searching: its needles, and the filter that says where one of
//! them can begin.

use std::sync::Arc;

use memchr::{memchr2_iter, memchr3_iter};

use super::filter::{GROUP, Group, Groups, STRIDE, Starts, group_at, variants};
use super::needle::{Class, Form, MIN_SEARCHED, Needle, Source, Spelling, utf16be};
use super::text::Text;
use super::trie::Trie;
use super::units::introduces;
use crate::secret::SecretBytes;

/// What may stand between the bytes of a hex dump.
pub(super) const HEX_GAPS: [u8; 2] = [b' ', b':'];

/// Values, their needles, and the filter. Built once, then only read.
pub(super) struct Set {
    placeholders: Vec<String>,
    sources: Vec<Source>,
    tries: [Trie; Class::ALL.len()],
    /// Whether there are needles for the filter.
    searched: bool,
    /// Every group in the window of some needle.
    inner: Groups,
    /// Every group with which some needle begins.
    starts: Starts,
    /// The bytes with which a short value can begin, if there are any.
    short: Option<Box<[bool; 256]>>,
}

impl Set {
    /// Prepares `values` for searching. Values of fewer than [`MIN_SEARCHED`] bytes are left out
    /// unless `short` says that they are wanted; empty ones always are.
    pub fn new(values: impl IntoIterator<Item = (String, Arc<SecretBytes>)>, short: bool) -> Self {
        let mut placeholders = Vec::new();
        let mut sources = Vec::new();
        let mut needles = Class::ALL.map(|_| Vec::new());
        let shortest = if short { 1 } else { MIN_SEARCHED };
        for (name, value) in values
            .into_iter()
            .filter(|(_, value)| value.len() >= shortest)
        {
            let index = placeholders.len();
            placeholders.push(format!("<<{name}>>"));
            let mut add = |class: Class, spelling, bytes: &[u8]| {
                needles[class as usize].push(Needle::new(sources.len(), index, spelling, bytes));
            };
            let bytes = value.expose();
            if bytes.len() < MIN_SEARCHED {
                add(Class::Short, Spelling::Plain, bytes);
                sources.push(Source::Value(value));
                continue;
            }
            add(Class::Exact, Spelling::Plain, bytes);
            (0..3).for_each(|shift| add(Class::Base64, Spelling::Base64(shift), bytes));
            add(Class::Hex, Spelling::Hex, bytes);
            let wide = utf16be(bytes);
            sources.push(Source::Value(value));
            if let Some(wide) = wide {
                for spelling in [Spelling::Utf16Be, Spelling::Utf16Le] {
                    let needle = Needle::new(sources.len(), index, spelling, wide.expose());
                    needles[Class::Exact as usize].push(needle);
                }
                sources.push(Source::Wide(wide));
            }
        }
        let tries = needles.map(|needles| Trie::new(needles, &sources));
        let searched = sources
            .iter()
            .any(|source| source.bytes().len() >= MIN_SEARCHED);
        let (inner, starts) = filters(&tries, &sources);
        let short = first_bytes(&tries[Class::Short as usize], &sources);
        Self {
            placeholders,
            sources,
            searched,
            tries,
            inner,
            starts,
            short,
        }
    }

    /// Whether there is nothing to search for.
    pub fn is_empty(&self) -> bool {
        self.placeholders.is_empty()
    }

    /// `<<slug>>` for each value, in the order of the values.
    pub fn placeholders(&self) -> &[String] {
        &self.placeholders
    }

    /// Needles of `class`.
    pub fn trie(&self, class: Class) -> &Trie {
        &self.tries[class as usize]
    }

    /// What needles are computed from.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Whether `value`, of at least [`MIN_SEARCHED`] bytes, is one of the values.
    pub fn holds(&self, value: &[u8]) -> bool {
        let exact = self.trie(Class::Exact).exact(&self.sources, value);
        // Without the notations that a text may use, only the plain spelling is read as itself.
        exact.is_some_and(|needle| needle.form(0, false) == Form::Raw)
    }

    /// The values themselves.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.sources.iter().filter_map(|source| match source {
            Source::Value(value) => Some(value.expose()),
            Source::Wide(_) => None,
        })
    }

    /// Appends every position from `from` on at which a needle may begin: none is left out, many
    /// are false. Unsorted, with repetitions.
    ///
    /// `from` is where the text ended at the last call: what can be said about a position is said
    /// when it first appears, and where that depends on bytes yet to come it is said to be one.
    pub fn candidates(&self, text: Text<'_>, from: usize, out: &mut Vec<usize>) {
        if self.searched {
            self.literal_windows(text, from, out);
            self.escaped_windows(text, from, out);
            self.wrapped_windows(text, from, out);
        }
        if let Some(short) = &self.short {
            let bytes = text.bytes.iter().enumerate().skip(from);
            out.extend(
                bytes
                    .filter(|(_, byte)| short[usize::from(**byte)])
                    .map(|(pos, _)| pos),
            );
        }
    }

    /// Windows without an escape: a look at every [`STRIDE`]th position.
    fn literal_windows(&self, text: Text<'_>, from: usize, out: &mut Vec<usize>) {
        let bytes = text.bytes;
        // The first window begins at `from`; its last group is the first to be looked at.
        let mut pos = from + STRIDE - 1;
        let (strides, _) = bytes.get(pos..).unwrap_or_default().as_chunks::<STRIDE>();
        for [a, b, c, d, _] in strides {
            if self.inner.contains(u32::from_le_bytes([*a, *b, *c, *d])) {
                self.window_around(bytes, from, pos, out);
            }
            pos += STRIDE;
        }
        if group_at(bytes, pos).is_some_and(|group| self.inner.contains(group)) {
            self.window_around(bytes, from, pos, out);
        }
        if !text.complete {
            for pos in from.max(bytes.len().saturating_sub(MIN_SEARCHED - 1))..bytes.len() {
                if self.may_start(bytes, pos) {
                    out.push(pos);
                }
            }
        }
    }

    #[cold]
    fn window_around(&self, bytes: &[u8], from: usize, pos: usize, out: &mut Vec<usize>) {
        let starts = from.max(pos + 1 - STRIDE)..=pos;
        out.extend(starts.filter(|&start| self.may_start(bytes, start)));
    }

    /// Whether a needle may begin at `pos` with four literal bytes, as far as they are known.
    fn may_start(&self, bytes: &[u8], pos: usize) -> bool {
        group_at(bytes, pos).is_none_or(|group| self.starts.contains(group))
    }

    /// Windows with an escape, found from the first one in them: all before it is literal.
    fn escaped_windows(&self, text: Text<'_>, from: usize, out: &mut Vec<usize>) {
        for found in memchr3_iter(b'%', b'\\', b'&', &text.bytes[from..]) {
            let pos = from + found;
            let units = text.units(pos);
            if units.undecided {
                out.extend(from.max(pos.saturating_sub(MIN_SEARCHED - 1))..=pos);
                continue;
            }
            for (index, unit) in units.iter().enumerate() {
                if index == 0 {
                    self.literal_before(text, from, pos, out);
                }
                let near = from.max(pos.saturating_sub(GROUP - 1))..=pos;
                out.extend(near.filter(|&start| {
                    let group = Group::default().with(&text.bytes[start..pos]);
                    self.fits(text, unit.next, group.with(unit.bytes()))
                }));
                if matches!(unit.bytes(), b"\r" | b"\n") && text.wraps_at(pos) {
                    let next = (unit.bytes() == b"\n").then_some(unit.next);
                    self.wrapped_window(text, from, pos, next, out);
                }
            }
        }
    }

    /// Windows that hold at least four literal bytes before what stands at `pos`.
    fn literal_before(&self, text: Text<'_>, from: usize, pos: usize, out: &mut Vec<usize>) {
        let first = from.max(pos.saturating_sub(MIN_SEARCHED - 1));
        let starts = first..pos.saturating_sub(GROUP - 1);
        out.extend(starts.filter(|&start| self.may_start(text.bytes, start)));
    }

    /// Whether `group`, filled up with what may be read from `pos` on, begins a needle.
    fn fits(&self, text: Text<'_>, pos: usize, group: Group) -> bool {
        if !self.starts.admits(group) {
            return false;
        }
        if group.len == GROUP {
            return true;
        }
        let Some(&byte) = text.bytes.get(pos) else {
            return !text.complete;
        };
        if self.fits(text, pos + 1, group.with(&[byte])) {
            return true;
        }
        if !introduces(byte) {
            return false;
        }
        let units = text.units(pos);
        let mut readings = units.iter();
        units.undecided || readings.any(|unit| self.fits(text, unit.next, group.with(unit.bytes())))
    }

    /// Windows broken by the line break of wrapped base64.
    fn wrapped_windows(&self, text: Text<'_>, from: usize, out: &mut Vec<usize>) {
        let bytes = text.bytes;
        for found in memchr2_iter(b'\r', b'\n', &bytes[from..]) {
            let pos = from + found;
            if text.wraps_at(pos) {
                let next = match (bytes[pos], bytes.get(pos + 1)) {
                    (b'\n', _) => Some(pos + 1),
                    (_, Some(b'\n')) => Some(pos + 2),
                    // The line feed is yet to come, or escaped.
                    _ => None,
                };
                self.wrapped_window(text, from, pos, next, out);
            }
        }
    }

    /// Windows around a line break at `pos`, which ends at `next` if that is known.
    fn wrapped_window(
        &self,
        text: Text<'_>,
        from: usize,
        pos: usize,
        next: Option<usize>,
        out: &mut Vec<usize>,
    ) {
        self.literal_before(text, from, pos, out);
        out.extend(
            (from.max(pos.saturating_sub(GROUP - 1))..pos).filter(|&start| {
                let group = Group::default().with(&text.bytes[start..pos]);
                next.is_none_or(|next| self.fits(text, next, group))
            }),
        );
    }
}

/// The filters over all needles of [`MIN_SEARCHED`] characters and more.
fn filters(tries: &[Trie; Class::ALL.len()], sources: &[Source]) -> (Groups, Starts) {
    // Counted first: a list of groups would be a list of pieces of values.
    let mut counts = [0; 2];
    each_group(tries, sources, |starts, _| counts[usize::from(starts)] += 1);
    let mut inner = Groups::with_room(counts[0] + counts[1]);
    let mut starts = Starts::with_room(counts[1]);
    each_group(tries, sources, |begins, group| {
        inner.insert(group);
        if begins {
            starts.insert(group);
        }
    });
    (inner, starts)
}

/// Calls `each` for every group in the window of a needle, and tells whether it begins it.
fn each_group(
    tries: &[Trie; Class::ALL.len()],
    sources: &[Source],
    mut each: impl FnMut(bool, u32),
) {
    let mut add = |class: Class, window: [u8; MIN_SEARCHED]| {
        for (index, chars) in window.array_windows::<GROUP>().enumerate() {
            variants(class, *chars, |group| each(index == 0, group));
        }
    };
    for class in [Class::Exact, Class::Base64, Class::Hex] {
        for needle in tries[class as usize].needles() {
            let window = std::array::from_fn(|index| needle.byte(sources, index));
            add(class, window);
            if class == Class::Hex {
                let [a, b, c, d, e, f, ..] = window;
                for gap in HEX_GAPS {
                    add(class, [a, b, gap, c, d, gap, e, f]);
                }
            }
        }
    }
}

fn first_bytes(trie: &Trie, sources: &[Source]) -> Option<Box<[bool; 256]>> {
    let mut table = Box::new([false; 256]);
    for needle in trie.needles() {
        let byte = needle.byte(sources, 0);
        table[usize::from(byte)] = true;
        table[usize::from(Class::Short.twin(byte).unwrap_or(byte))] = true;
    }
    table[usize::from(b'%')] = true;
    (!trie.needles().is_empty()).then_some(table)
}
