//! The values put into a body, held and streamed.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::secret::SecretBytes;
use crate::substitution::body::{self, BodyKind};
use crate::substitution::splice::splice;
use crate::substitution::slug::Reference;
use crate::substitution::stream::{StreamStep, BodyStream};

/// Values that put the encodings to the test.
const VALUES: [&str; 8] = [
    "plain",
    "<<a>>",
    "\"\\\n\t",
    "3C&=+%41 /",
    "41b\\u003c&lt;",
    "é🔑",
    "\r\n--B\r\n\r\n",
    "-B--",
];

/// Gives every name a value.
pub struct Values(u8, HashMap<String, Arc<SecretBytes>>);

impl Values {
    /// Which values: chosen by a byte.
    pub fn new(seed: u8) -> Self {
        Self(seed, HashMap::new())
    }

    /// The value under a name.
    pub fn text(&self, name: &str) -> String {
        let sum = name.bytes().fold(self.0, u8::wrapping_add);
        crate::choose(&VALUES, sum).to_owned()
    }

    fn secret(&mut self, reference: &Reference) -> Arc<SecretBytes> {
        let name = reference.to_string();
        let text = self.text(&name);
        let make = || Arc::new(SecretBytes::new(text.into_bytes()));
        Arc::clone(self.1.entry(name).or_insert_with(make))
    }

    /// What becomes of a held body. `None`: it is refused.
    pub fn held(&mut self, kind: &BodyKind, source: &[u8]) -> Option<Vec<u8>> {
        let edits = body::find(kind, source).ok()?;
        for edit in &edits {
            self.secret(&edit.reference);
        }
        let out = splice(source, &edits, |reference| {
            self.1.get(&reference.to_string()).map(Arc::as_ref)
        });
        if edits.is_empty() {
            assert_eq!(
                out.as_deref(),
                Ok(source),
                "nothing to change, and yet it changed"
            );
        }
        out.ok()
    }

    /// What becomes of the same body that streams in pieces. `None`: it is refused.
    pub fn streamed<'p>(
        &mut self,
        kind: &BodyKind,
        pieces: impl IntoIterator<Item = &'p [u8]>,
    ) -> Option<Vec<u8>> {
        let mut stream = BodyStream::new(kind);
        let mut out = Vec::new();
        for piece in pieces {
            stream.push(Bytes::copy_from_slice(piece)).ok()?;
            self.written(&mut stream, &mut out)?;
        }
        stream.finish().ok()?;
        self.written(&mut stream, &mut out)?;
        Some(out)
    }

    fn written(&mut self, stream: &mut BodyStream, out: &mut Vec<u8>) -> Option<()> {
        loop {
            match stream.step(out).ok()? {
                StreamStep::More | StreamStep::Done => return Some(()),
                StreamStep::Flush => {}
                StreamStep::Resolve(need) => stream.supply(self.secret(&need.reference)),
            }
        }
    }
}
