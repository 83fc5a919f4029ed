//! A set of values prepared for searching: its needles, and the filter that says where one of
//! them can begin.

use std::fmt;
use std::sync::Arc;

use memchr::memchr3_iter;

use super::escapes::{TextUnit, introduces};
use super::filter::{GROUP, Group, Groups, Starts, Window, group_at, variants};
use super::haystack::Haystack;
use super::names::NameFilter;
use super::needle::{
    HitForm, MIN_SEARCHED, Needle, NeedleClass, NeedleSource, Spelling, address, utf16be,
};
use super::trie::Trie;
use crate::secret::SecretBytes;

/// What may stand between the bytes of a hex dump.
pub(super) const HEX_GAPS: [u8; 2] = [b' ', b':'];

/// Values, their needles, and the filter. Built once, then only read.
pub(super) struct NeedleIndex {
    placeholders: Vec<String>,
    sources: Vec<NeedleSource>,
    /// Where the values lie, sorted. They are held, so nothing else can come to lie there.
    addresses: Vec<usize>,
    tries: [Trie; NeedleClass::ALL.len()],
    /// Characters in the shortest needle for the filter, if there is one. No text of fewer bytes
    /// holds a needle, since nothing that stands for a character is shorter than it.
    shortest: Option<usize>,
    /// Where literal text is looked at.
    window: Window,
    /// Every group in the window of some needle.
    inner: Groups,
    /// Every group with which some needle begins.
    starts: Starts,
    /// Every byte in the window of some needle. What an escape stands for is seldom among them.
    within: Box<[bool; 256]>,
    /// The bytes with which a short value can begin, if there are any.
    short: Option<Box<[bool; 256]>>,
    /// Where names of fields are looked at.
    names: NameFilter,
}

impl NeedleIndex {
    /// Prepares `values` for searching. Values of fewer than [`MIN_SEARCHED`] bytes are left out
    /// unless `short` says that they are wanted; empty ones always are.
    pub fn new(
        values: impl IntoIterator<Item = (impl fmt::Display, Arc<SecretBytes>)>,
        short: bool,
    ) -> Self {
        let mut placeholders = Vec::new();
        let mut sources = Vec::new();
        let mut needles = NeedleClass::ALL.map(|_| Vec::new());
        let shortest = if short { 1 } else { MIN_SEARCHED };
        for (name, value) in values
            .into_iter()
            .filter(|(_, value)| value.len() >= shortest)
        {
            let index = placeholders.len();
            placeholders.push(format!("<<{name}>>"));
            let mut add = |class: NeedleClass, spelling, bytes: &[u8]| {
                needles[class as usize].push(Needle::new(sources.len(), index, spelling, bytes));
            };
            let bytes = value.expose();
            if bytes.len() < MIN_SEARCHED {
                add(NeedleClass::Short, Spelling::Plain, bytes);
                sources.push(NeedleSource::Value(value));
                continue;
            }
            add(NeedleClass::Exact, Spelling::Plain, bytes);
            (0..3).for_each(|shift| add(NeedleClass::Base64, Spelling::Base64(shift), bytes));
            add(NeedleClass::Hex, Spelling::Hex, bytes);
            let wide = utf16be(bytes);
            sources.push(NeedleSource::Value(value));
            if let Some(wide) = wide {
                for spelling in [Spelling::Utf16Be, Spelling::Utf16Le] {
                    let needle = Needle::new(sources.len(), index, spelling, wide.expose());
                    needles[NeedleClass::Exact as usize].push(needle);
                }
                sources.push(NeedleSource::Wide(wide));
            }
        }
        let mut addresses: Vec<usize> = sources.iter().filter_map(NeedleSource::address).collect();
        addresses.sort_unstable();
        let tries = needles.map(|needles| Trie::new(needles, &sources));
        let shortest = filtered(&tries)
            .map(|(_, needle)| needle.len as usize)
            .min();
        let window = Window::of(shortest.unwrap_or_default(), filtered(&tries).count());
        let (inner, starts, within) = filters(&tries, &sources, window);
        let short = first_bytes(&tries[NeedleClass::Short as usize], &sources);
        let names = NameFilter::new(all(&tries), &sources);
        Self {
            placeholders,
            sources,
            addresses,
            shortest,
            window,
            tries,
            inner,
            starts,
            within,
            short,
            names,
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
    pub fn trie(&self, class: NeedleClass) -> &Trie {
        &self.tries[class as usize]
    }

    /// Where in the name of a field a needle can begin.
    pub fn names(&self) -> &NameFilter {
        &self.names
    }

    /// What needles are computed from.
    pub fn sources(&self) -> &[NeedleSource] {
        &self.sources
    }

    /// Whether `value`, of at least [`MIN_SEARCHED`] bytes, is one of the values.
    pub fn holds(&self, value: &Arc<SecretBytes>) -> bool {
        if self.addresses.binary_search(&address(value)).is_ok() {
            return true;
        }
        let exact = self
            .trie(NeedleClass::Exact)
            .exact(&self.sources, value.expose());
        // Without the notations that a text may use, only the plain spelling is read as itself.
        exact.is_some_and(|needle| needle.form(0, false) == HitForm::Raw)
    }

    /// The values themselves.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.sources.iter().filter_map(|source| match source {
            NeedleSource::Value(value) => Some(value.expose()),
            NeedleSource::Wide(_) => None,
        })
    }

    /// Appends every position from `from` on at which a needle may begin: none is left out, many
    /// are false. Unsorted, with repetitions.
    ///
    /// `from` is where the text ended at the last call: what can be said about a position is said
    /// when it first appears, and where that depends on bytes yet to come it is said to be one.
    pub fn candidates(&self, text: Haystack<'_>, from: usize, out: &mut Vec<usize>) {
        let left = text.bytes.len() - from;
        if self
            .shortest
            .is_some_and(|shortest| left >= shortest || !text.complete)
        {
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

    /// Windows without an escape: a look at one position in each stride.
    fn literal_windows(&self, text: Haystack<'_>, from: usize, out: &mut Vec<usize>) {
        let bytes = text.bytes;
        match self.window {
            Window::Wide => self.strides::<{ Window::Wide.stride() }>(bytes, from, out),
            Window::Long => self.strides::<{ Window::Long.stride() }>(bytes, from, out),
            Window::Short => self.strides::<{ Window::Short.stride() }>(bytes, from, out),
        }
        if !text.complete {
            let cut = from.max(bytes.len().saturating_sub(self.window.chars() - 1))..bytes.len();
            out.extend(cut.filter(|&start| self.may_start(bytes, start)));
        }
    }

    fn strides<const STRIDE: usize>(&self, bytes: &[u8], from: usize, out: &mut Vec<usize>) {
        // The first window begins at `from`; its last group is the first to be looked at.
        let mut pos = from + STRIDE - 1;
        let (strides, _) = bytes.get(pos..).unwrap_or_default().as_chunks::<STRIDE>();
        for stride in strides {
            if group_at(stride, 0).is_some_and(|group| self.inner.contains(group)) {
                self.window_around(bytes, from, pos, out);
            }
            pos += STRIDE;
        }
        if group_at(bytes, pos).is_some_and(|group| self.inner.contains(group)) {
            self.window_around(bytes, from, pos, out);
        }
    }

    /// The windows with the group at `pos`, if there is one: then the group half a stride before or
    /// behind it is in the same window, so that chance has to strike twice.
    fn window_around(&self, bytes: &[u8], from: usize, pos: usize, out: &mut Vec<usize>) {
        let half = self.window.stride() / 2;
        let known = |pos| group_at(bytes, pos).is_some_and(|group| self.inner.contains(group));
        if !known(pos + half) && !pos.checked_sub(half).is_some_and(known) {
            return;
        }
        let starts = from.max(pos + 1 - self.window.stride())..=pos;
        out.extend(starts.filter(|&start| self.may_start(bytes, start)));
    }

    /// Whether a needle may begin at `pos` with literal bytes, as far as they are known.
    fn may_start(&self, bytes: &[u8], pos: usize) -> bool {
        match group_at(bytes, pos) {
            Some(group) => self.starts.contains(group),
            None => self.starts.admits(Group::default().with(&bytes[pos..])),
        }
    }

    /// Windows with an escape, found from the first one in them: all before it is literal.
    fn escaped_windows(&self, text: Haystack<'_>, from: usize, out: &mut Vec<usize>) {
        for found in memchr3_iter(b'%', b'\\', b'&', &text.bytes[from..]) {
            let pos = from + found;
            if let Some(unit) = text.plain_escape(pos) {
                self.escaped_window(text, from, pos, &unit, out);
                continue;
            }
            if !text.may_escape(pos) {
                continue;
            }
            let escapes = text.escapes(pos);
            if escapes.undecided {
                let before = from.max(pos.saturating_sub(self.window.chars() - 1))..=pos;
                let literal = |start| Group::default().with(&text.bytes[start..pos]);
                out.extend(before.filter(|&start| self.starts.admits(literal(start))));
                continue;
            }
            for unit in escapes.iter() {
                self.escaped_window(text, from, pos, unit, out);
            }
        }
    }

    /// Windows with this unit at `pos`, and around the line break of wrapped base64 that it may be.
    fn escaped_window(
        &self,
        text: Haystack<'_>,
        from: usize,
        pos: usize,
        unit: &TextUnit,
        out: &mut Vec<usize>,
    ) {
        let stands_for = unit.bytes();
        if stands_for
            .first()
            .is_some_and(|&byte| self.within[usize::from(byte)])
        {
            self.literal_before(text, from, pos, out);
            let near = from.max(pos.saturating_sub(GROUP - 1))..=pos;
            out.extend(near.filter(|&start| {
                let group = Group::default().with(&text.bytes[start..pos]);
                self.fits(text, unit.next, group.with(stands_for))
            }));
        }
        if matches!(stands_for, b"\r" | b"\n") && text.wraps_at(pos) {
            let next = (stands_for == b"\n").then_some(unit.next);
            self.wrapped_window(text, from, pos, next, out);
        }
    }

    /// Windows that hold at least four literal bytes before what stands at `pos`. The last four of
    /// these are in all of them.
    fn literal_before(&self, text: Haystack<'_>, from: usize, pos: usize, out: &mut Vec<usize>) {
        let last = text.bytes[from..pos].last_chunk::<GROUP>();
        if last.is_some_and(|last| self.inner.contains(u32::from_le_bytes(*last))) {
            let reach = self.window.stride() - 2;
            let first = from.max((pos - GROUP).saturating_sub(reach));
            let starts = first..=pos - GROUP;
            out.extend(starts.filter(|&start| self.may_start(text.bytes, start)));
        }
    }

    /// Whether `group`, filled up with what may be read from `pos` on, begins a needle.
    fn fits(&self, text: Haystack<'_>, pos: usize, group: Group) -> bool {
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
        if !introduces(byte) || !text.may_escape(pos) {
            return false;
        }
        let fits = |unit: &TextUnit| self.fits(text, unit.next, group.with(unit.bytes()));
        if let Some(unit) = text.plain_escape(pos) {
            return fits(&unit);
        }
        let escapes = text.escapes(pos);
        escapes.undecided || escapes.iter().any(fits)
    }

    /// Windows broken by the line break of wrapped base64.
    fn wrapped_windows(&self, text: Haystack<'_>, from: usize, out: &mut Vec<usize>) {
        text.each_wrap(from, |pos| {
            let next = match (text.bytes[pos], text.bytes.get(pos + 1)) {
                (b'\n', _) => Some(pos + 1),
                (_, Some(b'\n')) => Some(pos + 2),
                // The line feed is yet to come, or escaped.
                _ => None,
            };
            self.wrapped_window(text, from, pos, next, out);
        });
    }

    /// Windows around a line break at `pos`, which ends at `next` if that is known.
    fn wrapped_window(
        &self,
        text: Haystack<'_>,
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

/// The needles for the filter: those of [`MIN_SEARCHED`] characters and more.
fn filtered(
    tries: &[Trie; NeedleClass::ALL.len()],
) -> impl Iterator<Item = (NeedleClass, &Needle)> {
    all(tries).filter(|(class, _)| *class != NeedleClass::Short)
}

/// Every needle.
fn all(
    tries: &[Trie; NeedleClass::ALL.len()],
) -> impl Iterator<Item = (NeedleClass, &Needle)> + Clone {
    NeedleClass::ALL.into_iter().flat_map(|class| {
        let needles = tries[class as usize].needles().iter();
        needles.map(move |needle| (class, needle))
    })
}

/// The filters over the windows of all needles.
fn filters(
    tries: &[Trie; NeedleClass::ALL.len()],
    sources: &[NeedleSource],
    window: Window,
) -> (Groups, Starts, Box<[bool; 256]>) {
    // Counted first: a list of groups would be a list of pieces of values.
    let mut counts = [0; 2];
    each_group(tries, sources, window, |starts, _| {
        counts[usize::from(starts)] += 1;
    });
    let mut inner = Groups::with_room(counts[0] + counts[1]);
    let mut starts = Starts::with_room(counts[1]);
    let mut within = Box::new([false; 256]);
    each_group(tries, sources, window, |begins, group| {
        for byte in group.to_le_bytes() {
            within[usize::from(byte)] = true;
        }
        inner.insert(group);
        if begins {
            starts.insert(group);
        }
    });
    (inner, starts, within)
}

/// Calls `each` for every group in the window of a needle, and tells whether it begins it.
fn each_group(
    tries: &[Trie; NeedleClass::ALL.len()],
    sources: &[NeedleSource],
    window: Window,
    mut each: impl FnMut(bool, u32),
) {
    let mut add = |class: NeedleClass, chars: &[u8]| {
        for (index, chars) in chars.array_windows::<GROUP>().enumerate() {
            variants(class, *chars, |group| each(index == 0, group));
        }
    };
    for (class, needle) in filtered(tries) {
        let mut chars = [0; Window::Wide.chars()];
        let chars = &mut chars[..window.chars()];
        for (index, char) in chars.iter_mut().enumerate() {
            *char = needle.byte(sources, index);
        }
        add(class, chars);
        if class == NeedleClass::Hex {
            for gap in HEX_GAPS {
                let mut gapped = [gap; Window::Wide.chars()];
                let pairs = gapped.chunks_mut(3).zip(chars.chunks(2));
                pairs.for_each(|(place, pair)| {
                    let count = place.len().min(2);
                    place[..count].copy_from_slice(&pair[..count]);
                });
                add(class, &gapped[..window.chars()]);
            }
        }
    }
}

fn first_bytes(trie: &Trie, sources: &[NeedleSource]) -> Option<Box<[bool; 256]>> {
    let mut table = Box::new([false; 256]);
    for needle in trie.needles() {
        let byte = needle.byte(sources, 0);
        table[usize::from(byte)] = true;
        table[usize::from(NeedleClass::Short.twin(byte).unwrap_or(byte))] = true;
    }
    table[usize::from(b'%')] = true;
    (!trie.needles().is_empty()).then_some(table)
}
