//! What is put in place of a union of hits.

use super::base64_run::{Base64Run, Substitute, line_before, value_of};
use super::hit::Replacement;
use super::json_place::JsonPlace;
use super::needles::Needles;
use super::regions::Lead;

/// What is put in place of a union of hits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The placeholder, as this place allows it.
    Placeholder(Replacement),
    Stars,
    /// Three characters that no value contains.
    Filler,
    /// As many of them as there were bytes.
    Fillers,
}

/// How bytes are written that no hit covers.
pub(super) enum Between {
    AsItIs,
    /// Each as this character, which no value contains.
    Masked(u8),
}

/// Writes a stream with other text in place of hits.
pub(super) struct Writer {
    mark: Mark,
    /// The base64 that the last hit was in, as long as what follows has to be written again.
    run: Option<Box<Base64Run>>,
    /// Where in a JSON text what is written next is, if that has to be known.
    json: Option<JsonPlace>,
    /// In a union of UTF-16 whose most significant bytes come first, how many bytes of it were covered.
    wide: Option<usize>,
}

/// Where a union begins, in a text whose start is known so far.
pub(super) struct Beginning<'a> {
    pub text: &'a [u8],
    /// All before this was written.
    pub from: usize,
    /// Where it begins.
    pub at: usize,
    /// Base64 characters directly before the text.
    pub run_before: usize,
}

impl Writer {
    pub fn new(mark: Mark, needles: &Needles) -> Self {
        let is_json = mark == Mark::Placeholder(Replacement::Json);
        Self {
            mark,
            run: None,
            json: (is_json && needles.any_number()).then(JsonPlace::default),
            wide: None,
        }
    }

    /// Whether text without hits has to be written too.
    pub fn is_busy(&self) -> bool {
        let is_in_json = self.json.as_ref().is_some_and(JsonPlace::is_open);
        self.run.is_some() || self.wide.is_some() || is_in_json
    }

    /// Follows text that is passed on as it is.
    pub fn follow(&mut self, text: &[u8]) {
        if let Some(json) = &mut self.json {
            json.follow(text);
        }
    }

    /// Writes text that no hit covers.
    pub fn between(&mut self, mut text: &[u8], how: &Between, out: &mut Vec<u8>) {
        if !text.is_empty() {
            self.end_wide(out);
        }
        if let Some(json) = &mut self.json {
            text = json.end_number(text, out);
            json.follow(text);
        }
        if let Some(run) = &mut self.run
            && !text.is_empty()
        {
            if let Between::Masked(_) = how {
                run.finish(None, out);
                self.run = None;
            } else {
                let (passed, ended) = run.pass(text, out);
                text = &text[passed..];
                if ended {
                    self.run = None;
                }
            }
        }
        match how {
            Between::AsItIs => out.extend_from_slice(text),
            Between::Masked(filler) => out.resize(out.len() + text.len(), *filler),
        }
    }

    /// Writes the text before a union, and what takes the place of it whatever its length.
    pub fn begin(
        &mut self,
        needles: &Needles,
        lead: Lead,
        beginning: &Beginning<'_>,
        how: &Between,
        out: &mut Vec<u8>,
    ) {
        let Beginning { text, from, at, .. } = *beginning;
        self.end_wide(out);
        let substitute = match self.mark {
            Mark::Placeholder(_) => Substitute::Text,
            Mark::Stars => Substitute::Each(b'*'),
            Mark::Filler | Mark::Fillers => {
                self.between(&text[from..at], how, out);
                if self.mark == Mark::Filler {
                    out.extend_from_slice(&[needles.filler(); 3]);
                }
                return;
            }
        };
        let edge = Edge::of(lead, &text[from..at], needles, substitute);
        let start = at - edge.taken;
        self.between(
            &text[from..start - usize::from(edge.before.is_some())],
            how,
            out,
        );
        let Some(shift) = edge.shift else {
            self.end_run(out);
            let start = out.len();
            self.write_placeholder(needles, lead.reference, out);
            if lead.is_wide && matches!(self.mark, Mark::Placeholder(_)) {
                let is_big_endian = text.get(at) == Some(&0);
                widen(out, start, is_big_endian);
                self.wide = is_big_endian.then_some(0);
            }
            return;
        };
        let before = edge.before;
        let goes_on = self.run.as_mut().map(|run| run.begin_value(before, out));
        if goes_on != Some(true) {
            self.end_run(out);
            let line = line_before(text, start, beginning.run_before);
            // The characters before it are in no group with it, so it is no part of a longer text:
            // what follows it is none either, and would be spoiled.
            let is_alone = lead.is_whole && edge.taken == 0 && !line.is_multiple_of(4);
            let keeps_length = substitute != Substitute::Text;
            if shift > 0 && before.is_none() || is_alone && !keeps_length {
                return self.write_placeholder(needles, lead.reference, out);
            }
            let run = Base64Run::new(substitute, shift, before, line);
            self.run = Some(Box::new(run));
        }
        if let (Some(run), Mark::Placeholder(_)) = (&mut self.run, self.mark) {
            let other = needles.other_text(lead.reference);
            let marked = other.as_deref();
            let marked = marked.unwrap_or_else(|| needles.placeholder(lead.reference));
            match edge.nested {
                Some((shift, before)) => run.write_nested(shift, before, marked.as_bytes(), out),
                None => {
                    run.end_nested(out);
                    run.write(marked.as_bytes(), out);
                }
            }
            run.cover(&text[start..at], out);
        }
    }

    /// Writes what takes the place of these bytes of a union.
    pub fn cover(&mut self, needles: &Needles, text: &[u8], out: &mut Vec<u8>) {
        let length = text.len();
        if let Some(covered) = &mut self.wide {
            *covered += length;
        }
        match (self.mark, &mut self.run) {
            (Mark::Placeholder(_) | Mark::Stars, Some(run)) if run.is_in_value() => {
                run.cover(text, out);
            }
            (Mark::Stars, _) => out.resize(out.len() + length, b'*'),
            (Mark::Fillers, _) => out.resize(out.len() + length, needles.filler()),
            (Mark::Placeholder(_) | Mark::Filler, _) => {}
        }
    }

    /// The end of the stream.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.end_wide(out);
        self.end_run(out);
        if let Some(json) = &mut self.json {
            json.end_string(out);
            *json = JsonPlace::default();
        }
    }

    /// A value reads in both byte orders where a zero byte of its neighbour is next to it. That byte is then
    /// part of the union, and is written again. How long a union is, is known only where it ends.
    fn end_wide(&mut self, out: &mut Vec<u8>) {
        if let Some(covered) = self.wide.take()
            && !covered.is_multiple_of(2)
        {
            out.push(0);
        }
    }

    fn end_run(&mut self, out: &mut Vec<u8>) {
        if let Some(mut run) = self.run.take() {
            run.finish(None, out);
        }
    }

    fn write_placeholder(&mut self, needles: &Needles, reference: usize, out: &mut Vec<u8>) {
        let Mark::Placeholder(style) = self.mark else {
            return;
        };
        let name = needles.name(reference);
        let (open, close) = match style {
            Replacement::Xml => ("&lt;&lt;", "&gt;&gt;"),
            Replacement::Percent => ("%3C%3C", "%3E%3E"),
            _ => ("<<", ">>"),
        };
        if let Some(json) = &mut self.json
            && json.begin_value(out)
        {
            return;
        }
        if let Some(text) = needles.other_text(reference) {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        for part in [open, name, close] {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// Turns the ASCII from `start` on into UTF-16 of that byte order, as the text around it is.
fn widen(out: &mut Vec<u8>, start: usize, is_big_endian: bool) {
    let narrow = out.split_off(start);
    for byte in narrow {
        let unit = u16::from(byte);
        out.extend_from_slice(&if is_big_endian {
            unit.to_be_bytes()
        } else {
            unit.to_le_bytes()
        });
    }
}

/// How a union begins in base64.
struct Edge {
    /// How many bytes of its group of three are before it. None: it is not base64.
    shift: Option<u8>,
    /// The character that holds bits both of it and of what is before it.
    before: Option<u8>,
    /// How many characters more belong to it than are covered by the hit.
    taken: usize,
    /// In base64 within base64: the same two of the inner one.
    nested: Option<(u8, Option<u8>)>,
}

impl Edge {
    /// Of a union after `text`.
    fn of(lead: Lead, text: &[u8], needles: &Needles, substitute: Substitute) -> Self {
        let edge = Self {
            shift: lead.shift,
            before: shared_before(lead, text, needles),
            taken: 0,
            nested: None,
        };
        match (substitute, lead.shift, lead.inner) {
            (Substitute::Text, Some(_), Some(0)) => Self {
                nested: Some((0, None)),
                ..edge
            },
            (Substitute::Text, Some(outer), Some(inner)) => {
                Self::of_nested(outer, inner, text).unwrap_or(edge)
            }
            _ => edge,
        }
    }

    /// Where a character of the inner base64 holds bits of the value and of what is before it, that is
    /// one byte of the outer one, and has to be written again. It is in the last two characters.
    fn of_nested(outer: u8, inner: u8, text: &[u8]) -> Option<Self> {
        let &[first, second] = text.last_chunk()?;
        let bits = u32::from(value_of(first)?) << 6 | u32::from(value_of(second)?);
        let (shift, before, taken, offset) = match outer {
            0 => (2, Some(first), 1, 0),
            1 => (0, None, 2, 4),
            _ => (1, Some(first), 1, 2),
        };
        let char = (bits >> offset) as u8;
        value_of(char)?;
        Some(Self {
            shift: Some(shift),
            before,
            taken,
            nested: Some((inner, Some(char))),
        })
    }
}

/// The last character of `text`, if it holds bits both of a value in base64 that follows and of what
/// is before it.
fn shared_before(lead: Lead, text: &[u8], needles: &Needles) -> Option<u8> {
    let char = *text.last()?;
    let is_shared = lead.shift.is_some_and(|shift| shift > 0);
    (is_shared && needles.may_precede(char)).then_some(char)
}
