//! Where in a text a needle may begin: the filter at work.

use memchr::memchr3_iter;

use super::escapes::{TextUnit, introduces};
use super::filter::{GROUP, Group, Window, group_at};
use super::gap::MAX_INDENT;
use super::haystack::Haystack;
use super::needle_index::{Filter, NeedleIndex, Windows};
use crate::substitution::encoding::Notation;

impl NeedleIndex {
    /// Appends every position from `from` on at which a needle may begin: none is left out, many
    /// are false. In order, each once.
    ///
    /// `from` is where the text ended at the last call: what can be said about a position is said
    /// when it first appears, and where that depends on bytes yet to come it is said to be one.
    pub fn candidates(&self, text: Haystack<'_>, from: usize, out: &mut Vec<usize>) {
        match &self.filter {
            Filter::Windows(windows) => {
                if self.fits_into(text.bytes.len() - from) || !text.complete {
                    let mut search = Search {
                        windows,
                        text,
                        from,
                        literal_to: from,
                        starts: Starts::default(),
                    };
                    search.literal_windows();
                    search.escaped_windows();
                    search.literal_to = from;
                    search.wrapped_windows();
                    out.extend(search.starts.iter().map(|start| from + start));
                }
            }
            Filter::FirstBytes(first) => {
                let bytes = text.bytes.iter().enumerate().skip(from);
                let begins = |&(_, byte): &(usize, &u8)| first[usize::from(*byte)];
                out.extend(bytes.filter(begins).map(|(pos, _)| pos));
            }
        }
    }
}

/// Positions, a bit for each: in a text of nothing but escapes each is found dozens of times.
#[derive(Default)]
struct Starts {
    words: Vec<u64>,
}

impl Starts {
    /// Adds one of the first `most` positions.
    fn add(&mut self, position: usize, most: usize) {
        if self.words.is_empty() {
            self.words.resize(most.div_ceil(64), 0);
        }
        self.words[position / 64] |= 1 << (position % 64);
    }

    fn contains(&self, position: usize) -> bool {
        let word = self.words.get(position / 64);
        word.is_some_and(|word| word & 1 << (position % 64) != 0)
    }

    /// All of them, in order.
    fn iter(&self) -> impl Iterator<Item = usize> {
        let words = self.words.iter().enumerate();
        let set = words.filter(|(_, word)| **word != 0);
        set.flat_map(|(at, word)| {
            let without_last = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
            let rest = std::iter::successors(Some(*word), without_last);
            rest.map(move |word| 64 * at + word.trailing_zeros() as usize)
        })
    }
}

/// One call.
struct Search<'a> {
    windows: &'a Windows,
    text: Haystack<'a>,
    from: usize,
    /// [`Search::literal_before`] has looked at all positions before this that it will ever look at.
    literal_to: usize,
    starts: Starts,
}

impl Search<'_> {
    /// Windows without an escape: a look at one position in each stride.
    fn literal_windows(&mut self) {
        match self.windows.window {
            Window::Wide => self.strides::<{ Window::Wide.stride() }>(),
            Window::Long => self.strides::<{ Window::Long.stride() }>(),
            Window::Short => self.strides::<{ Window::Short.stride() }>(),
        }
        if !self.text.complete {
            let end = self.text.bytes.len();
            let cut = end.saturating_sub(self.windows.window.chars() - 1);
            self.starts_in(self.from.max(cut), end);
        }
    }

    fn strides<const STRIDE: usize>(&mut self) {
        let bytes = self.text.bytes;
        // The first window begins at `from`; its last group is the first to be looked at.
        let first = self.from + STRIDE - 1;
        let (strides, _) = bytes.get(first..).unwrap_or_default().as_chunks::<STRIDE>();
        for (index, stride) in strides.iter().enumerate() {
            if group_at(stride, 0).is_some_and(|group| self.windows.inner.contains(group)) {
                self.window_around(first + index * STRIDE);
            }
        }
        let last = first + strides.len() * STRIDE;
        if self.is_inner(last) {
            self.window_around(last);
        }
    }

    /// The windows with the group at `pos`, if there is one: then the group half a stride before or
    /// after it is in the same window, so that chance has to strike twice.
    fn window_around(&mut self, pos: usize) {
        let stride = self.windows.window.stride();
        let before = || pos.checked_sub(stride / 2);
        if self.is_inner(pos + stride / 2) || before().is_some_and(|pos| self.is_inner(pos)) {
            self.starts_in(self.from.max(pos + 1 - stride), pos + 1);
        }
    }

    fn is_inner(&self, pos: usize) -> bool {
        group_at(self.text.bytes, pos).is_some_and(|group| self.windows.inner.contains(group))
    }

    /// The positions from `from` to `to` at which a needle may begin with literal bytes, as far as
    /// they are known.
    fn starts_in(&mut self, from: usize, to: usize) {
        let (starts, bytes) = (&self.windows.starts, self.text.bytes);
        for pos in from..to {
            let begins = match group_at(bytes, pos) {
                Some(group) => starts.contains(group),
                None => starts.admits(Group::default().with(&bytes[pos..])),
            };
            if begins {
                self.add(pos);
            }
        }
    }

    fn is_start(&self, pos: usize) -> bool {
        self.starts.contains(pos - self.from)
    }

    fn add(&mut self, start: usize) {
        let most = self.text.bytes.len() - self.from;
        self.starts.add(start - self.from, most);
    }

    /// Windows with an escape, found from the first one in them: all before it is literal.
    fn escaped_windows(&mut self) {
        let [a, b, c] = Notation::ALL.map(Notation::introducer);
        for found in memchr3_iter(a, b, c, &self.text.bytes[self.from..]) {
            let pos = self.from + found;
            if let Some(unit) = self.text.plain_escape(pos) {
                self.escaped_window(pos, &unit);
                continue;
            }
            if !self.text.may_escape(pos) {
                continue;
            }
            let escapes = self.text.escapes(pos);
            if escapes.undecided {
                self.starts_before(pos, self.windows.window.chars() - 1, |_, _| true);
                self.add(pos);
                continue;
            }
            for unit in escapes.iter() {
                self.escaped_window(pos, unit);
            }
        }
    }

    /// Windows with this unit at `pos`, and around the line break of wrapped base64 that it may be.
    fn escaped_window(&mut self, pos: usize, unit: &TextUnit) {
        let stands_for = unit.bytes();
        let first = stands_for.first();
        if first.is_some_and(|&byte| self.windows.within[usize::from(byte)]) {
            self.literal_before(pos);
            self.starts_near(pos, unit.next, stands_for);
            if !self.is_start(pos) && self.fits(unit.next, Group::default().with(stands_for)) {
                self.add(pos);
            }
        }
        if matches!(stands_for, b"\r" | b"\n") && self.text.wraps_at(pos) {
            let next = (stands_for == b"\n").then_some(unit.next);
            self.wrapped_window(pos, next);
        }
    }

    /// Windows broken by the line break of wrapped base64.
    fn wrapped_windows(&mut self) {
        let (text, from) = (self.text, self.from);
        text.each_wrap(from, |pos| {
            let next = match (text.bytes[pos], text.bytes.get(pos + 1)) {
                (b'\n', _) => Some(pos + 1),
                (_, Some(b'\n')) => Some(pos + 2),
                // The line feed is yet to come, or escaped.
                _ => None,
            };
            self.wrapped_window(pos, next);
        });
    }

    /// Windows around a line break at `pos`, which ends at `next` if that is known.
    fn wrapped_window(&mut self, pos: usize, next: Option<usize>) {
        self.literal_before(pos);
        match next.and_then(|next| self.after_indent(next)) {
            Some(next) => self.starts_near(pos, next, &[]),
            None => self.starts_before(pos, GROUP - 1, |_, _| true),
        }
    }

    /// Behind the blanks from `pos` on. `None` if more may follow.
    fn after_indent(&self, pos: usize) -> Option<usize> {
        let rest = self.text.bytes.get(pos..).unwrap_or_default();
        let blanks = rest.iter().take(usize::from(MAX_INDENT));
        let count = blanks
            .take_while(|&byte| matches!(byte, b' ' | b'\t'))
            .count();
        let is_known = count < rest.len() || self.text.complete;
        is_known.then_some(pos + count)
    }

    /// Windows that hold at least four literal bytes before what is at `pos`. The last four of these
    /// are in all of them.
    fn literal_before(&mut self, pos: usize) {
        let last = self.text.bytes[self.from..pos].last_chunk::<GROUP>();
        if last.is_some_and(|last| self.windows.inner.contains(u32::from_le_bytes(*last))) {
            let reach = self.windows.window.stride() - 2;
            let first = self.literal_to.max((pos - GROUP).saturating_sub(reach));
            self.literal_to = pos - GROUP + 1;
            self.starts_in(first, self.literal_to);
        }
    }

    /// Windows that begin with fewer literal bytes than that before `pos`, then `chars`, then what
    /// is at `next`.
    fn starts_near(&mut self, pos: usize, next: usize, chars: &[u8]) {
        self.starts_before(pos, GROUP - 1, |search, group| {
            search.fits(next, group.with(chars))
        });
    }

    /// The positions, at most `reach` before `pos`, at which a needle may begin with all bytes up to
    /// there, and `admits` what begins with them.
    fn starts_before(&mut self, pos: usize, reach: usize, admits: impl Fn(&Self, Group) -> bool) {
        for start in self.from.max(pos.saturating_sub(reach))..pos {
            if self.is_start(start) {
                continue;
            }
            let group = Group::default().with(&self.text.bytes[start..pos]);
            if self.windows.starts.admits(group) && admits(self, group) {
                self.add(start);
            }
        }
    }

    /// Whether `group`, filled up with what may be read from `pos` on, may begin a needle.
    fn fits(&self, pos: usize, group: Group) -> bool {
        if !self.windows.starts.admits(group) {
            return false;
        }
        if group.len == GROUP {
            return true;
        }
        let Some(&byte) = self.text.bytes.get(pos) else {
            return !self.text.complete;
        };
        if self.fits(pos + 1, group.with(&[byte])) {
            return true;
        }
        if !introduces(byte) || !self.text.may_escape(pos) {
            return false;
        }
        match self.text.plain_escape(pos) {
            Some(unit) => self.fits(unit.next, group.with(unit.bytes())),
            // Escapes inside escapes part into so many readings that it is left to the matcher,
            // which joins them, to follow them all.
            None => true,
        }
    }
}
