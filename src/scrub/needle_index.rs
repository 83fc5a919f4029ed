//! Values prepared for searching: their needles, and the filter that says where one of them can
//! begin.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::derived::{KeyText, in_other_charsets, private_keys};
use super::escapes::Escapes;
use super::failure_links::FailureLinks;
use super::filter::{GROUP, Groups, Starts, Window, variants};
use super::gap::HEX_SEPARATORS;
use super::haystack::Haystack;
use super::names::NameFilter;
use super::needle::{
    HitForm, MIN_SEARCHED, Needle, NeedleClass, NeedleSource, Nested, Spelling, address, utf16be,
};
use super::trie::{Trie, TrieNode};
use crate::secret::SecretBytes;
use crate::substitution::encoding::Encoding;
use crate::substitution::splice::spelling;

const CLASSES: usize = NeedleClass::ALL.len();

/// Values, their needles, and the filter. Built once, then only read.
pub(super) struct NeedleIndex {
    placeholders: Vec<String>,
    sources: Vec<NeedleSource>,
    /// Where the values lie, sorted. They are held, so nothing else can come to lie there.
    addresses: Vec<usize>,
    tries: [Trie; CLASSES],
    pub(super) filter: Filter,
    /// Where names of fields are looked at.
    names: NameFilter,
    /// Made when a text first asks for them: `None` inside if there are too many.
    links: OnceLock<Option<FailureLinks>>,
    /// The bytes that can be read as some character of a needle, likewise.
    occurring: OnceLock<Box<[[bool; 256]; CLASSES]>>,
}

/// Where in a text a needle can begin.
pub(super) enum Filter {
    /// For values of at least [`MIN_SEARCHED`] bytes.
    Windows(Box<Windows>),
    /// For shorter ones: the bytes with which one can begin.
    FirstBytes(Box<[bool; 256]>),
}

/// What is known of the first characters of needles.
pub(super) struct Windows {
    /// Characters in the shortest needle. No text of fewer bytes holds a needle, since nothing that
    /// stands for a character is shorter than it.
    pub shortest: usize,
    /// Where literal text is looked at.
    pub window: Window,
    /// Every group in the window of some needle.
    pub inner: Groups,
    /// Every group with which some needle begins.
    pub starts: Starts,
    /// Every byte in the window of some needle. What an escape stands for is seldom among them.
    pub within: Box<[bool; 256]>,
}

impl NeedleIndex {
    /// Prepares values for searching. Those of fewer than [`MIN_SEARCHED`] bytes are left out.
    pub fn new(values: impl IntoIterator<Item = (impl fmt::Display, Arc<SecretBytes>)>) -> Self {
        let mut collected = Collected::default();
        for (name, value) in values {
            if value.len() >= MIN_SEARCHED {
                collected.add(&name, value);
            }
        }
        collected.index(|tries, sources| Filter::Windows(Box::new(windows(tries, sources))))
    }

    /// Prepares values of fewer than [`MIN_SEARCHED`] bytes. Others and empty ones are left out.
    pub fn of_short(
        values: impl IntoIterator<Item = (impl fmt::Display, Arc<SecretBytes>)>,
    ) -> Self {
        let mut collected = Collected::default();
        for (name, value) in values {
            if (1..MIN_SEARCHED).contains(&value.len()) {
                collected.add_short(&name, value);
            }
        }
        collected.index(|[.., short], sources| Filter::FirstBytes(first_bytes(short, sources)))
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

    /// The classes of which there are needles, each with the root of its trie.
    pub fn roots(&self) -> impl Iterator<Item = (NeedleClass, TrieNode)> {
        let root = |class| Some((class, self.trie(class).root()?));
        NeedleClass::ALL.into_iter().filter_map(root)
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
        exact.is_some_and(|needle| needle.form(Default::default(), false) == HitForm::Raw)
    }

    /// The values themselves.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.sources.iter().filter_map(|source| match source {
            NeedleSource::Value(value) => Some(value.expose()),
            NeedleSource::Derived(_) => None,
        })
    }

    /// The escapes that are undone at `at` for these needles.
    pub fn escapes(&self, text: Haystack<'_>, at: usize) -> Escapes {
        match self.filter {
            Filter::Windows(_) => text.escapes(at),
            Filter::FirstBytes(_) => text.percent_escapes(at),
        }
    }

    /// Whether a complete text of `length` bytes is long enough to hold a needle.
    pub fn fits_into(&self, length: usize) -> bool {
        match &self.filter {
            Filter::Windows(windows) => length >= windows.shortest,
            Filter::FirstBytes(_) => length > 0,
        }
    }

    /// Whether the first [`GROUP`] bytes at `at` are there and can be read only as they are, in
    /// every class.
    pub fn is_plain(&self, text: Haystack<'_>, at: usize) -> bool {
        let group = text.bytes.get(at..at + GROUP);
        matches!(self.filter, Filter::Windows(_))
            && group.is_some_and(|group| group.iter().all(|&byte| PLAIN[usize::from(byte)]))
    }

    /// The characters with which a needle may begin inside a partial match, for its failure links
    /// to know: what is shorter is followed on its own.
    pub fn shortest_begun(&self) -> u32 {
        match self.filter {
            Filter::Windows(_) => GROUP as u32,
            Filter::FirstBytes(_) => 1,
        }
    }

    /// The characters of a needle that the filter has seen.
    pub fn window(&self) -> u32 {
        match &self.filter {
            Filter::Windows(windows) => windows.window.chars() as u32,
            Filter::FirstBytes(_) => MIN_SEARCHED as u32,
        }
    }

    /// The most bytes that are let go although they may be the beginning of a value, so that a
    /// message does not wait for the next one (see [`super::Scrubber::release`]).
    pub fn most_by_chance(&self) -> usize {
        match self.filter {
            Filter::Windows(_) => 3,
            // Three bytes may be all of such a value.
            Filter::FirstBytes(_) => {
                let lengths = self.sources.iter().map(|source| source.bytes().len());
                lengths.min().unwrap_or(0) / 3
            }
        }
    }

    /// The failure links. `None` if there would be too many.
    pub fn failure_links(&self) -> Option<&FailureLinks> {
        let made = self.links.get_or_init(|| {
            let may_begin = |chars: &[u8]| match (&self.filter, chars.first_chunk()) {
                (Filter::Windows(windows), Some(group)) => {
                    windows.starts.contains(u32::from_le_bytes(*group))
                }
                _ => true,
            };
            let shortest = self.shortest_begun();
            FailureLinks::new(&self.tries, &self.sources, shortest, may_begin)
        });
        made.as_ref()
    }

    /// Whether `byte` can be read as a character of some needle of `class`, or stand between two.
    pub fn occurs(&self, class: NeedleClass, byte: u8) -> bool {
        let occurring = self.occurring.get_or_init(|| {
            let mut occurring = Box::new([[false; 256]; CLASSES]);
            for class in NeedleClass::ALL {
                self.mark_occurring(class, &mut occurring[class as usize]);
            }
            occurring
        });
        occurring[class as usize][usize::from(byte)]
    }

    /// Whether all of these may do so, as far as is known: the characters are listed where a text was too
    /// much to follow, because that takes longer than most searches.
    pub fn may_occur(&self, class: NeedleClass, bytes: &[u8]) -> bool {
        let occurring = self.occurring.get();
        occurring.is_none_or(|known| {
            let known = &known[class as usize];
            bytes.iter().all(|&byte| known[usize::from(byte)])
        })
    }

    fn mark_occurring(&self, class: NeedleClass, occurring: &mut [bool; 256]) {
        for needle in self.trie(class).needles() {
            for index in 0..needle.len as usize {
                let byte = needle.byte(&self.sources, index);
                occurring[usize::from(byte)] = true;
                occurring[usize::from(class.twin(byte).unwrap_or(byte))] = true;
            }
        }
        let gaps: &[u8] = match class {
            NeedleClass::Hex => &HEX_SEPARATORS,
            NeedleClass::Base64 => b"\r\n",
            NeedleClass::Exact | NeedleClass::Short => &[],
        };
        for &gap in gaps {
            occurring[usize::from(gap)] = true;
        }
    }
}

/// The bytes that no class reads in more than one way.
const PLAIN: [bool; 256] = {
    let mut plain = [true; 256];
    let others = b"%\\&+ :-\r\n";
    let mut at = 0;
    while at < others.len() {
        plain[others[at] as usize] = false;
        at += 1;
    }
    plain
};

/// Values on their way into an index.
#[derive(Default)]
struct Collected {
    placeholders: Vec<String>,
    sources: Vec<NeedleSource>,
    needles: [Vec<Needle>; CLASSES],
}

impl Collected {
    /// Adds a value in all its spellings.
    fn add(&mut self, name: &impl fmt::Display, value: Arc<SecretBytes>) {
        let bytes = value.expose();
        let wide = utf16be(bytes);
        // Inside of base64 no escapes are undone, and OAuth clients encode credentials twice (RFC 6749
        // section 2.3.1).
        let form = spelling(Encoding::BasicForm, &value);
        let charsets = in_other_charsets(bytes);
        let keys = private_keys(bytes);
        self.spell(NeedleClass::Exact, Spelling::Plain, bytes);
        self.spell_base64(bytes);
        for nested in Nested::all(bytes) {
            self.spell(NeedleClass::Base64, Spelling::Nested(nested), bytes);
        }
        self.spell(NeedleClass::Hex, Spelling::Hex, bytes);
        self.sources.push(NeedleSource::Value(value));
        if let Some(wide) = wide {
            for spelling in [Spelling::Utf16Be, Spelling::Utf16Le] {
                self.spell(NeedleClass::Exact, spelling, wide.expose());
            }
            self.sources.push(NeedleSource::Derived(wide));
        }
        if let Some(form) = form {
            self.spell_base64(form.expose());
            self.sources.push(NeedleSource::Derived(form));
        }
        for form in charsets {
            self.derive(NeedleClass::Exact, form);
        }
        for KeyText { joined, lines } in keys {
            self.derive(NeedleClass::Base64, joined);
            for line in lines {
                self.derive(NeedleClass::Exact, line);
            }
        }
        self.placeholders.push(format!("<<{name}>>"));
    }

    /// Adds the base64 of the source that comes next, at every alignment.
    fn spell_base64(&mut self, bytes: &[u8]) {
        for shift in 0..3 {
            self.spell(NeedleClass::Base64, Spelling::Base64(shift), bytes);
        }
    }

    /// Adds bytes that are searched as they are, unless they are too few.
    fn derive(&mut self, class: NeedleClass, bytes: SecretBytes) {
        if bytes.len() >= MIN_SEARCHED {
            self.spell(class, Spelling::Plain, bytes.expose());
            self.sources.push(NeedleSource::Derived(bytes));
        }
    }

    /// Adds a value that is searched only as itself.
    fn add_short(&mut self, name: &impl fmt::Display, value: Arc<SecretBytes>) {
        self.spell(NeedleClass::Short, Spelling::Plain, value.expose());
        self.sources.push(NeedleSource::Value(value));
        self.placeholders.push(format!("<<{name}>>"));
    }

    /// Adds a needle made of the source that comes next, for the name that comes next.
    fn spell(&mut self, class: NeedleClass, spelling: Spelling, bytes: &[u8]) {
        let (source, name) = (self.sources.len(), self.placeholders.len());
        let needle = Needle::new(source, name, spelling, bytes);
        self.needles[class as usize].push(needle);
    }

    fn index(
        self,
        filter: impl FnOnce(&[Trie; CLASSES], &[NeedleSource]) -> Filter,
    ) -> NeedleIndex {
        let sources = self.sources;
        let mut addresses: Vec<usize> = sources.iter().filter_map(NeedleSource::address).collect();
        addresses.sort_unstable();
        let tries = self.needles.map(|needles| Trie::new(needles, &sources));
        NeedleIndex {
            placeholders: self.placeholders,
            addresses,
            filter: filter(&tries, &sources),
            names: NameFilter::new(all(&tries), &sources),
            tries,
            sources,
            links: OnceLock::new(),
            occurring: OnceLock::new(),
        }
    }
}

/// Every needle.
fn all(tries: &[Trie; CLASSES]) -> impl Iterator<Item = (NeedleClass, &Needle)> + Clone {
    NeedleClass::ALL.into_iter().flat_map(|class| {
        let needles = tries[class as usize].needles().iter();
        needles.map(move |needle| (class, needle))
    })
}

/// The filter over the windows of all needles.
fn windows(tries: &[Trie; CLASSES], sources: &[NeedleSource]) -> Windows {
    let lengths = || all(tries).map(|(_, needle)| needle.len as usize);
    let shortest = lengths().min().unwrap_or_default();
    let window = Window::of(shortest, lengths().count());
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
    Windows {
        shortest,
        window,
        inner,
        starts,
        within,
    }
}

/// Calls `each` for every group in the window of a needle, and tells whether it begins it.
fn each_group(
    tries: &[Trie; CLASSES],
    sources: &[NeedleSource],
    window: Window,
    mut each: impl FnMut(bool, u32),
) {
    let mut add = |class: NeedleClass, chars: &[u8]| {
        for (index, chars) in chars.array_windows::<GROUP>().enumerate() {
            variants(class, *chars, |group| each(index == 0, group));
        }
    };
    for (class, needle) in all(tries) {
        let mut chars = [0; Window::Wide.chars()];
        let chars = &mut chars[..window.chars()];
        for (index, char) in chars.iter_mut().enumerate() {
            *char = needle.byte(sources, index);
        }
        add(class, chars);
        if class == NeedleClass::Hex {
            for separator in HEX_SEPARATORS {
                let mut separated = [separator; Window::Wide.chars()];
                let pairs = separated.chunks_mut(3).zip(chars.chunks(2));
                pairs.for_each(|(place, pair)| {
                    let count = place.len().min(2);
                    place[..count].copy_from_slice(&pair[..count]);
                });
                add(class, &separated[..window.chars()]);
            }
        }
    }
}

/// The bytes with which a short value can begin, percent-encoded or not.
fn first_bytes(trie: &Trie, sources: &[NeedleSource]) -> Box<[bool; 256]> {
    let mut table = Box::new([false; 256]);
    for needle in trie.needles() {
        let byte = needle.byte(sources, 0);
        table[usize::from(byte)] = true;
        table[usize::from(NeedleClass::Short.twin(byte).unwrap_or(byte))] = true;
        table[usize::from(b'%')] = true;
    }
    table
}
