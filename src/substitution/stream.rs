//! Substitution in a body that is too large to hold.
//!
//! A state machine that does no input or output. The caller pushes bytes with [`BodyStream::push`];
//! [`BodyStream::step`] writes what is decided, and stops at the first placeholder whose value it was
//! not given, so that the caller can authorise and record the use before any byte of the value is
//! written. Only bytes that could still begin a placeholder (or a multipart delimiter) are held
//! back.
//!
//! ```
//! # use std::sync::Arc;
//! # use egret::secret::SecretBytes;
//! use egret::substitution::body::BodyKind;
//! use egret::substitution::stream::{BodyStream, StreamStep};
//!
//! let mut stream = BodyStream::new(&BodyKind::Json);
//! let mut out = Vec::new();
//! stream.push(br#"{"key": "<<g"#[..].into())?;
//! assert_eq!(stream.step(&mut out)?, StreamStep::More);
//! assert_eq!(out, br#"{"key": ""#);
//!
//! stream.push(br#"h>>"}"#[..].into())?;
//! stream.finish()?;
//! let StreamStep::Resolve(need) = stream.step(&mut out)? else { panic!() };
//! assert_eq!(need.reference.to_string(), "gh");
//! assert_eq!(need.location.to_string(), "body:/key");
//! // Authorise and record here.
//! stream.supply(Arc::new(SecretBytes::new(b"s3\"cret".to_vec())));
//! assert_eq!(stream.step(&mut out)?, StreamStep::Done);
//! assert_eq!(out, br#"{"key": "s3\"cret"}"#);
//! # Ok::<(), egret::substitution::stream::StreamError>(())
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};

use crate::policy::location::Location;
use crate::secret::SecretBytes;

use super::body_kind::{BodyKind, BodyProblem};
use super::body_scanner::BodyScanner;
use super::edit::{Edit, SpliceError, unencodable};
use super::encode::MEASURED;
use super::slug::Reference;
use super::splice::{Insertion, SpliceWriter};
use super::stand_in::StandInSearch;

/// How much is written in one step before the caller is asked to send it, in bytes. A step goes
/// beyond it by at most one value and what was pushed.
const STEP_OUTPUT: usize = 64 << 10;

/// How many permissions are remembered. A form can name a placeholder under any number of fields.
const MAX_PERMITTED: usize = 256;

/// Substitution in progress.
pub struct BodyStream {
    scanner: BodyScanner,
    writer: SpliceWriter,
    /// Source bytes, of which the first `written` were written.
    window: Bytes,
    written: usize,
    /// How much of the window is decided.
    decided: usize,
    /// Placeholders in the decided part, still to be written.
    edits: VecDeque<Edit>,
    permitted: HashMap<(Reference, Location), Arc<SecretBytes>>,
    eof: bool,
    failed: Option<StreamError>,
}

/// What the caller is to do after a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamStep {
    /// Push more, or finish.
    More,
    /// Send what was written, then step again.
    Flush,
    /// Authorise and record this use, supply the value and step again, or give up. What was
    /// written so far may be sent.
    Resolve(Need),
    /// Everything is written.
    Done,
}

/// A placeholder that is met for the first time at such a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What it names.
    pub reference: Reference,
    /// Where it is. In JSON, the pointer is right as far as the document was read: an error that
    /// follows is not known yet.
    pub location: Location,
}

/// Why a stream cannot continue. The upstream request must then be reset, not ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// The body is refused.
    #[error(transparent)]
    Body(#[from] BodyProblem),
    /// A value cannot be written at its place.
    #[error(transparent)]
    Splice(#[from] SpliceError),
}

impl BodyStream {
    /// At the start of a body of this kind.
    pub fn new(kind: &BodyKind) -> Self {
        Self {
            scanner: BodyScanner::new(kind),
            writer: SpliceWriter::default(),
            window: Bytes::new(),
            written: 0,
            decided: 0,
            edits: VecDeque::new(),
            permitted: HashMap::new(),
            eof: false,
            failed: None,
        }
    }

    /// Looks for stand-ins, too.
    pub fn with(self, stand_ins: Option<Arc<StandInSearch>>) -> Self {
        let scanner = self.scanner.with(stand_ins);
        Self { scanner, ..self }
    }

    /// Takes the next bytes of the body. Step until [`StreamStep::More`] before the next push: what is
    /// not written yet stays in memory.
    pub fn push(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        self.discard_written();
        self.window = if self.window.is_empty() {
            bytes
        } else {
            [&self.window[..], &bytes].concat().into()
        };
        self.read(false)
    }

    /// Ends the body: no more bytes follow.
    pub fn finish(&mut self) -> Result<(), StreamError> {
        self.eof = true;
        self.read(true)
    }

    /// Gives the value for the [`Need`] that the last step reported.
    pub fn supply(&mut self, value: Arc<SecretBytes>) {
        if let Some(edit) = self.edits.front() {
            if self.permitted.len() >= MAX_PERMITTED {
                self.permitted.clear();
            }
            self.permitted.insert(key(edit), value);
        }
    }

    /// The bytes before the next placeholder, without a copy. The caller sends them before what the
    /// next step writes.
    pub fn pass(&mut self) -> Result<Bytes, StreamError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let passed = self.window.slice(self.written..self.literal_end());
        if let Err(error) = self.writer.pass(&passed) {
            self.failed = Some(error.clone().into());
            return Err(error.into());
        }
        self.written += passed.len();
        Ok(passed)
    }

    /// Appends to `out` what can be written. It may hold secrets.
    pub fn step(&mut self, out: &mut Vec<u8>) -> Result<StreamStep, StreamError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let start = out.len();
        let step = self.write(out);
        if let Err(error) = &step {
            out.truncate(start);
            self.failed = Some(error.clone());
        }
        step
    }

    fn write(&mut self, out: &mut Vec<u8>) -> Result<StreamStep, StreamError> {
        let (ready, len) = self.ready()?;
        // Allocated once, so that no growing buffer leaves copies of a value in freed memory.
        out.reserve(len);
        for edit in self.edits.drain(..ready) {
            self.writer
                .literal(&self.window[self.written..edit.span.start], out)?;
            self.writer
                .replace(&edit, &replacement(&edit, &self.permitted)?, out)?;
            self.written = edit.span.end;
        }
        let literal_end = self.literal_end();
        self.writer
            .literal(&self.window[self.written..literal_end], out)?;
        self.written = literal_end;
        Ok(match self.edits.front() {
            Some(edit) if is_permitted(edit, &self.permitted) => StreamStep::Flush,
            Some(edit) => StreamStep::Resolve(Need {
                reference: edit.reference.clone(),
                location: edit.location.clone(),
            }),
            None if self.eof => StreamStep::Done,
            None => StreamStep::More,
        })
    }

    fn literal_end(&self) -> usize {
        let next = self.edits.front();
        next.map_or(self.decided, |edit| edit.span.start)
    }

    /// How many placeholders can be written now, and how many bytes that will make.
    fn ready(&self) -> Result<(usize, usize), StreamError> {
        let mut len = self.decided - self.written;
        let mut values = 0;
        let mut ready = 0;
        for edit in &self.edits {
            if values >= STEP_OUTPUT || !is_permitted(edit, &self.permitted) {
                break;
            }
            if edit.length.is_some() {
                // It may have been sent.
                return Err(unencodable(edit, MEASURED).into());
            }
            values += replacement(edit, &self.permitted)?.encoded_len(edit)?;
            ready += 1;
        }
        len += values;
        Ok((ready, len))
    }

    fn read(&mut self, eof: bool) -> Result<(), StreamError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let offset = self.decided;
        match self.scanner.read(&self.window[offset..], eof) {
            Ok(read) => {
                self.decided += read.len;
                self.edits.extend(read.edits.into_iter().map(|mut edit| {
                    edit.span = edit.span.start + offset..edit.span.end + offset;
                    edit
                }));
                Ok(())
            }
            Err(problem) => {
                self.failed = Some(problem.into());
                Err(problem.into())
            }
        }
    }

    fn discard_written(&mut self) {
        let written = std::mem::take(&mut self.written);
        self.window.advance(written);
        self.decided -= written;
        for edit in &mut self.edits {
            edit.span = edit.span.start - written..edit.span.end - written;
        }
    }
}

fn key(edit: &Edit) -> (Reference, Location) {
    (edit.reference.clone(), edit.location.clone())
}

fn is_permitted(edit: &Edit, permitted: &HashMap<(Reference, Location), Arc<SecretBytes>>) -> bool {
    edit.escape || permitted.contains_key(&key(edit))
}

fn replacement<'v>(
    edit: &Edit,
    permitted: &'v HashMap<(Reference, Location), Arc<SecretBytes>>,
) -> Result<Insertion<'v>, SpliceError> {
    Insertion::new(edit, &mut |_| permitted.get(&key(edit)).map(Arc::as_ref))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(value: &str) -> Arc<SecretBytes> {
        Arc::new(SecretBytes::new(value.as_bytes().to_vec()))
    }

    fn stepped(stream: &mut BodyStream) -> (StreamStep, String) {
        let mut out = Vec::new();
        let step = stream.step(&mut out).unwrap();
        (step, String::from_utf8(out).unwrap())
    }

    fn asked(step: &StreamStep) -> String {
        match step {
            StreamStep::Resolve(need) => format!("{} in {}", need.reference, need.location),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn nothing_of_a_value_is_written_before_it_is_supplied() {
        let mut stream = BodyStream::new(&BodyKind::Text);
        stream.push(b"a <<x>> b <<y>> c <<x>>"[..].into()).unwrap();
        let (step, out) = stepped(&mut stream);
        assert_eq!((asked(&step).as_str(), out.as_str()), ("x in body", "a "));
        // Stepping again without a value gets no further.
        assert_eq!(stepped(&mut stream), (step, String::new()));
        stream.supply(secret("1"));
        let (step, out) = stepped(&mut stream);
        assert_eq!((asked(&step).as_str(), out.as_str()), ("y in body", "1 b "));
        stream.supply(secret("<<x>>"));
        assert_eq!(
            stepped(&mut stream),
            (StreamStep::More, "<<x>> c 1".to_owned())
        );
        stream.finish().unwrap();
        assert_eq!(stepped(&mut stream), (StreamStep::Done, String::new()));
    }

    #[test]
    fn what_stands_before_a_placeholder_goes_on_as_it_came() {
        let text = Bytes::from_static(b"some text <<x>> and more");
        let mut stream = BodyStream::new(&BodyKind::Text);
        stream.push(text.clone()).unwrap();
        let passed = stream.pass().unwrap();
        assert_eq!((&passed[..], passed.as_ptr()), (&text[..10], text.as_ptr()));
        assert!(stream.pass().unwrap().is_empty());
        assert_eq!(asked(&stepped(&mut stream).0), "x in body");
        stream.supply(secret("1"));
        assert_eq!(
            stepped(&mut stream),
            (StreamStep::More, "1 and more".to_owned())
        );
    }

    #[test]
    fn a_placeholder_is_asked_for_again_at_another_place() {
        let mut stream = BodyStream::new(&BodyKind::Form);
        stream.push(b"a=<<x>>&b=<<x>>&a=<<x>>&"[..].into()).unwrap();
        assert_eq!(asked(&stepped(&mut stream).0), "x in body:a");
        stream.supply(secret("1"));
        assert_eq!(asked(&stepped(&mut stream).0), "x in body:b");
        stream.supply(secret("1"));
        assert_eq!(
            stepped(&mut stream),
            (StreamStep::More, "1&a=1&".to_owned())
        );
    }

    #[test]
    fn more_may_be_pushed_while_a_value_is_awaited() {
        let mut stream = BodyStream::new(&BodyKind::Text);
        stream.push(b"abc <<x>> d"[..].into()).unwrap();
        assert_eq!(asked(&stepped(&mut stream).0), "x in body");
        stream.push(b"ef <<x>>"[..].into()).unwrap();
        stream.supply(secret("1"));
        assert_eq!(
            stepped(&mut stream),
            (StreamStep::More, "1 def 1".to_owned())
        );
    }

    #[test]
    fn an_escape_is_not_asked_for() {
        let mut stream = BodyStream::new(&BodyKind::Form);
        stream.push(b"a=<<!x.y>>"[..].into()).unwrap();
        stream.finish().unwrap();
        assert_eq!(
            stepped(&mut stream),
            (StreamStep::Done, "a=%3C%3Cx.y%3E%3E".to_owned())
        );
    }

    #[test]
    fn only_what_could_begin_a_placeholder_is_held_back() {
        let mut stream = BodyStream::new(&BodyKind::Text);
        for (push, written) in [
            ("data: x\n\n", "data: x\n\n"),
            ("y <", "y "),
            ("<a", ""),
            ("b", ""),
            (" z", "<<ab z"),
        ] {
            stream.push(push.as_bytes().into()).unwrap();
            assert_eq!(stepped(&mut stream), (StreamStep::More, written.to_owned()));
        }
    }

    #[test]
    fn after_an_error_nothing_more_comes_out() {
        let mut stream = BodyStream::new(&BodyKind::Json);
        stream.push(b"\"<<x>> rest"[..].into()).unwrap();
        stepped(&mut stream);
        stream.supply(Arc::new(SecretBytes::new(vec![0xff])));
        let mut out = Vec::new();
        let error = stream.step(&mut out).unwrap_err();
        assert!(matches!(
            error,
            StreamError::Splice(SpliceError::Unencodable { .. })
        ));
        assert_eq!(stream.step(&mut out), Err(error.clone()));
        assert_eq!(stream.push(b"more"[..].into()), Err(error));
        assert!(out.is_empty());

        let mut wide = BodyStream::new(&BodyKind::Wide);
        assert_eq!(
            wide.push(b"<\0<\0g\0h\0>\0>\0"[..].into()),
            Err(StreamError::Body(BodyProblem::Wide))
        );
        assert!(wide.step(&mut out).is_err());
    }

    #[test]
    fn output_comes_in_portions() {
        let mut stream = BodyStream::new(&BodyKind::Text);
        stream.push("<<x>>".repeat(100).into()).unwrap();
        assert!(matches!(stepped(&mut stream).0, StreamStep::Resolve(_)));
        stream.supply(secret(&"v".repeat(5000)));
        let mut total = 0;
        loop {
            let (step, out) = stepped(&mut stream);
            assert!(out.len() <= STEP_OUTPUT + 5000);
            total += out.len();
            if step == StreamStep::More {
                break;
            }
            assert_eq!(step, StreamStep::Flush);
        }
        assert_eq!(total, 500_000);
    }

    #[test]
    fn memory_does_not_grow_with_the_body() {
        let kinds = [
            BodyKind::Json,
            BodyKind::Form,
            BodyKind::Xml,
            BodyKind::Text,
            BodyKind::Wide,
            BodyKind::Multipart {
                boundary: b"B".to_vec(),
            },
        ];
        for kind in kinds {
            let mut stream = BodyStream::new(&kind);
            // Long stretches that could always begin something.
            for chunk in [
                &b"<<aaaaaaaa\n-"[..],
                b"%3C%3Ca",
                b"\\u003c\\u003ca",
                b"&lt;&lt;a&#x0000000",
                b"]]]]",
                b"\"[{",
            ] {
                let chunk = chunk.repeat(1000);
                for _ in 0..20 {
                    stream.push(chunk.clone().into()).unwrap();
                    assert_eq!(stepped(&mut stream).0, StreamStep::More);
                    assert!(
                        stream.window.len() - stream.written
                            <= super::super::placeholder::MAX_CARRY,
                        "{kind:?}"
                    );
                }
            }
        }
    }
}
