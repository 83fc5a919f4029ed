//! What is put in place of a union of hits.

use super::base64_run::{Base64Run, Substitute, line_before};
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
        }
    }

    /// Whether text without hits has to be written too.
    pub fn is_busy(&self) -> bool {
        self.run.is_some() || self.json.as_ref().is_some_and(JsonPlace::is_open)
    }

    /// Follows text that is passed on as it is.
    pub fn follow(&mut self, text: &[u8]) {
        if let Some(json) = &mut self.json {
            json.follow(text);
        }
    }

    /// Writes text that no hit covers.
    pub fn between(&mut self, mut text: &[u8], how: &Between, out: &mut Vec<u8>) {
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
        let before = shared_before(lead, &text[from..at], needles);
        self.between(&text[from..at - usize::from(before.is_some())], how, out);
        let Some(shift) = lead.shift else {
            self.end_run(out);
            let start = out.len();
            self.write_placeholder(needles, lead.reference, out);
            if lead.is_wide {
                let is_big_endian = text.get(at) == Some(&0);
                widen(out, start, is_big_endian);
                if is_big_endian && lead.is_odd {
                    out.push(0);
                }
            }
            return;
        };
        let goes_on = self.run.as_mut().map(|run| run.begin_value(before, out));
        if goes_on != Some(true) {
            self.end_run(out);
            let line = line_before(text, at, beginning.run_before);
            // The characters before it are in no group with it, so it is no part of a longer text:
            // what follows it is none either, and would be spoiled.
            let is_alone = lead.is_whole && !line.is_multiple_of(4);
            let keeps_length = substitute != Substitute::Text;
            if shift > 0 && before.is_none() || is_alone && !keeps_length {
                return self.write_placeholder(needles, lead.reference, out);
            }
            let run = Base64Run::new(substitute, shift, before, line);
            self.run = Some(Box::new(run));
        }
        if let (Some(run), Mark::Placeholder(_)) = (&mut self.run, self.mark) {
            match needles.other_text(lead.reference) {
                Some(text) => run.write(text.as_bytes(), out),
                None => run.write(needles.placeholder(lead.reference).as_bytes(), out),
            }
        }
    }

    /// Writes what takes the place of these bytes of a union.
    pub fn cover(&mut self, needles: &Needles, text: &[u8], out: &mut Vec<u8>) {
        let length = text.len();
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
        self.end_run(out);
        if let Some(json) = &mut self.json {
            json.end_string(out);
            *json = JsonPlace::default();
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

/// The last character of `text`, if it holds bits both of a value in base64 that follows and of what
/// is before it.
fn shared_before(lead: Lead, text: &[u8], needles: &Needles) -> Option<u8> {
    let char = *text.last()?;
    let is_shared = lead.shift.is_some_and(|shift| shift > 0);
    (is_shared && needles.may_precede(char)).then_some(char)
}
