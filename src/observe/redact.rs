//! The last filter: takes live values out of everything that is about to be written to the log or to
//! standard error, also when a library formatted it.
//!
//! Nothing in Egret logs a value. This filter is for faults: a library that quotes
//! what it was parsing, a `Debug` that was derived, a client that puts somebody's token into a
//! path. It looks for all that the scrubber looks for in answers, with the same needles.
//!
//! Values of fewer than eight bytes are not looked for. `1234` occurs in ports, times and sizes, so
//! the log would be unreadable, and each `<<slug>>` in an innocent place would tell a reader where
//! the value is part of something known.
//!
//! There is one log and one server in a process, so what is live is a property of the process.

use std::borrow::Cow;
use std::io::{self, Stderr, Write};
use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;

use crate::scrub::{Needles, scrub_bytes};

static LIVE: LazyLock<ArcSwap<Live>> = LazyLock::new(ArcSwap::default);

/// What is looked for. Exchanged as a whole, so that no writer of a line waits.
#[derive(Clone, Default)]
struct Live {
    /// The values of every principal, as of a generation of the vault.
    all: Option<Arc<Needles>>,
    generation: u64,
    /// Those of principals who were served since then, by their names.
    recent: Vec<(String, u64, Arc<Needles>)>,
}

impl Live {
    fn redact<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let mut clean = Cow::Borrowed(text);
        let needles = self.recent.iter().map(|(_, _, needles)| needles);
        for needles in self.all.iter().chain(needles) {
            if let Some(found) = scrub_bytes(needles, &clean, &mut Vec::new()) {
                clean = Cow::Owned(found);
            }
        }
        clean
    }

    /// Everything is known up to `generation`.
    fn know_all(&mut self, generation: u64, needles: Arc<Needles>) {
        self.recent.retain(|(_, known, _)| *known > generation);
        self.generation = generation;
        self.all = Some(needles).filter(|needles| !needles.is_empty());
    }

    fn know(&mut self, principal: &str, generation: u64, needles: Arc<Needles>) {
        self.recent.retain(|(name, _, _)| name != principal);
        let news = self.all.is_none() || generation > self.generation;
        if news && !needles.is_empty() {
            self.recent
                .push((principal.to_owned(), generation, needles));
        }
    }
}

/// From now on these values, which are all there are at `generation` of the vault, appear in no
/// log line.
pub fn know_all(generation: u64, needles: Arc<Needles>) {
    LIVE.rcu(|live| {
        let mut live = Live::clone(live);
        live.know_all(generation, Arc::clone(&needles));
        live
    });
}

/// From now on neither do these, which `principal` may be about to use: it takes a moment until all
/// are known.
pub fn know(principal: &str, generation: u64, needles: &Arc<Needles>) {
    LIVE.rcu(|live| {
        let mut live = Live::clone(live);
        live.know(principal, generation, Arc::clone(needles));
        live
    });
}

/// A text without live values.
pub fn redact(text: &str) -> Cow<'_, str> {
    match LIVE.load().redact(text.as_bytes()) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(clean) => Cow::Owned(String::from_utf8_lossy(&clean).into_owned()),
    }
}

/// Standard error without live values.
pub fn stderr() -> Redacting<Stderr> {
    Redacting(io::stderr())
}

/// A writer that takes each line without its live values. The log hands over whole lines.
pub struct Redacting<W>(W);

impl<W: Write> Write for Redacting<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write_all(&LIVE.load().redact(line))?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SecretBytes;

    fn needles(values: &[(&str, &str)]) -> Arc<Needles> {
        let values = values.iter().map(|(name, value)| {
            let value = Arc::new(SecretBytes::new(value.as_bytes().to_vec()));
            ((*name).to_owned(), value)
        });
        Arc::new(Needles::new(values))
    }

    fn redacted(live: &Live, text: &str) -> String {
        String::from_utf8_lossy(&live.redact(text.as_bytes())).into_owned()
    }

    #[test]
    fn a_line_keeps_all_but_the_values() {
        let mut live = Live::default();
        let line = "INFO forwarded path=/x/hunter2hunter2?k=aHVudGVyMmh1bnRlcjI= took=12";
        assert_eq!(redacted(&live, line), line, "nothing is live yet");
        live.know_all(1, needles(&[("pat", "hunter2hunter2"), ("pin", "12")]));
        assert_eq!(
            redacted(&live, line),
            "INFO forwarded path=/x/<<pat>>?k=PDxwYXQ+Pg== took=12",
            "base64 stays base64: it is that of the placeholder"
        );
    }

    #[test]
    fn a_value_saved_just_now_is_covered_before_everything_is_known() {
        let mut live = Live::default();
        live.know_all(3, needles(&[("old", "the older value")]));
        live.know("alice", 4, needles(&[("new", "the newer value")]));
        assert_eq!(
            redacted(&live, "the older value, the newer value"),
            "<<old>>, <<new>>"
        );
        // Generation 3 was still being made when 4 came.
        live.know_all(3, needles(&[("old", "the older value")]));
        assert_eq!(redacted(&live, "the newer value"), "<<new>>");
        live.know_all(4, needles(&[]));
        assert_eq!(redacted(&live, "the newer value"), "the newer value");
        assert!(live.recent.is_empty());
    }

    #[test]
    fn a_principal_is_remembered_once() {
        let mut live = Live::default();
        for generation in 1..50 {
            live.know("alice", generation, needles(&[("a", "alices own value")]));
            live.know("bob", generation, needles(&[("b", "the value of bob")]));
        }
        assert_eq!(live.recent.len(), 2);
        assert_eq!(redacted(&live, "the value of bob"), "<<b>>");
    }
}
