//! What a process says about its requests after another one has become the writer of the ledger, on the side
//! of that one (see [`relay`](super::relay)).

use super::batch::now;
use super::in_flight::OpenUses;
use super::thread::Ledger;
use crate::ledger::format::chain::Chain;
use crate::ledger::format::encoded::EncodedEntries;
use crate::ledger::format::record_ref::RecordRef;

/// What the process before says about its requests.
pub struct Relayed {
    ledger: Ledger,
    /// What it has not told the result of.
    open: OpenUses,
    /// Lines so far: the order of uses.
    count: u64,
}

/// The text of the process before is no lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program before sends what are no lines of a ledger")]
pub struct NoLines;

impl Relayed {
    /// For the writer that follows it.
    pub fn of(ledger: &Ledger) -> Self {
        Self {
            ledger: ledger.clone(),
            open: ledger.take_elsewhere(),
            // After every line that the other one has written itself.
            count: u64::MAX / 2,
        }
    }

    /// Puts lines on record and returns whether they are durable. After a no they are not written. Blocks.
    ///
    /// # Errors
    /// When they are no lines. Written, they would make the ledger unreadable.
    pub fn write(&mut self, text: Vec<u8>) -> Result<bool, NoLines> {
        let lines = EncodedEntries::of_text(text);
        let mut whole = Vec::new();
        Chain::start().append(now(), &lines, &mut whole);
        let whole = whole.strip_suffix(b"\n").ok_or(NoLines)?;
        let each = || whole.split(|byte| *byte == b'\n');
        if each().any(|line| RecordRef::parse(line).is_err()) {
            return Err(NoLines);
        }
        if self.ledger.take_in(&lines).is_err() {
            return Ok(false);
        }
        for line in each() {
            self.count += 1;
            self.open.see(self.count, line);
        }
        Ok(true)
    }

    /// The process before has ended: what it has not told the result of is named.
    pub fn end(self) {
        if self.open.is_empty() {
            return;
        }
        let uses = self.open.into_entries();
        tracing::warn!(
            uses = uses.len(),
            "the program before has ended without the results of uses, which are named in the ledger"
        );
        if let Err(error) = self.ledger.append(uses) {
            // They are found by the next start, as after a crash.
            tracing::error!(%error, "uses without a result could not be named");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::ledger::format::entry::Entry;
    use crate::ledger::format::event;
    use crate::ledger::format::record::Record;
    use crate::ledger::writer::error::LedgerUnavailable;
    use crate::ledger::writer::next_writer::NextWriter;
    use crate::ledger::writer::signing::tests::signing;
    use crate::ledger::writer::thread::{Durability, Options};

    fn open(dir: &Path, follows: Option<u64>) -> Ledger {
        let options = Options {
            follows,
            ..Options::default()
        };
        Ledger::open_signed(dir, Durability::Commit, options, &signing(dir, 1)).unwrap()
    }

    fn entry(event: &'static str, request: &'static str) -> Entry<'static> {
        Entry {
            request: Some(request.into()),
            slug: Some("gh".into()),
            ..Entry::new(event)
        }
    }

    /// Each line as its event and its request.
    fn lines(dir: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(dir.join(crate::ledger::CURRENT)).unwrap();
        let records = text.lines().map(|line| Record::parse(line.as_bytes()));
        records
            .map(|record| record.unwrap().entry)
            .filter_map(|entry| Some((entry.event.to_string(), entry.request?.to_string())))
            .collect()
    }

    fn line(event: &str, request: &str) -> (String, String) {
        (event.to_owned(), request.to_owned())
    }

    /// The new process, in this one. It ends with the value.
    struct Beside {
        dir: PathBuf,
        ledger: Arc<Mutex<Option<Ledger>>>,
        relayed: Option<Relayed>,
    }

    impl NextWriter for Beside {
        fn begin(&mut self, first: Option<u64>) -> io::Result<()> {
            assert_eq!(first, Some(1));
            let ledger = open(&self.dir, Some(1));
            self.relayed = Some(Relayed::of(&ledger));
            *self.ledger.lock().unwrap() = Some(ledger);
            Ok(())
        }

        fn write(&mut self, lines: &[u8]) -> io::Result<bool> {
            let relayed = self.relayed.as_mut().unwrap();
            relayed.write(lines.to_vec()).map_err(io::Error::other)
        }
    }

    impl Drop for Beside {
        fn drop(&mut self) {
            self.relayed.take().unwrap().end();
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn uses_and_results_go_on_record_in_the_other_process_and_what_is_left_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let old = open(dir.path(), None);
        for request in ["told", "left"] {
            old.commit(entry(event::USE, request).encode())
                .await
                .unwrap();
        }
        let ledger = Arc::default();
        let beside = Beside {
            dir: dir.path().to_owned(),
            ledger: Arc::clone(&ledger),
            relayed: None,
        };
        old.hand_over(Box::new(beside)).await.unwrap();
        let new = ledger.lock().unwrap().clone().unwrap();
        new.commit(entry(event::USE, "own").encode()).await.unwrap();
        for request in ["later", "later and left"] {
            old.commit(entry(event::USE, request).encode())
                .await
                .unwrap();
            // Durable by now.
            assert_eq!(lines(dir.path()).last(), Some(&line("use", request)));
        }
        for request in ["told", "later"] {
            old.append(entry(event::RESULT, request).encode()).unwrap();
        }
        old.close().await.unwrap();
        new.append(entry(event::RESULT, "own").encode()).unwrap();
        new.close().await.unwrap();
        let after = lines(dir.path()).split_off(5);
        let mut named: Vec<_> = after
            .iter()
            .filter(|(event, _)| event == event::RECOVERED)
            .collect();
        named.sort();
        let left = [
            line("recovered", "later and left"),
            line("recovered", "left"),
        ];
        assert_eq!(named, left.iter().collect::<Vec<_>>());
        for request in ["told", "later", "own"] {
            let result = line("result", request);
            let results = after.iter().filter(|line| **line == result).count();
            assert_eq!(results, 1, "{request}");
        }
        // Nothing is open, and the next start names nothing again.
        let again = open(dir.path(), None);
        again.close().await.unwrap();
        assert_eq!(lines(dir.path()).len(), 5 + after.len());
    }

    /// A crash of the new process while the old one still serves.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_the_process_before_has_open_is_found_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let old = open(dir.path(), None);
        old.commit(entry(event::USE, "open").encode())
            .await
            .unwrap();
        old.close().await.unwrap();
        let new = open(dir.path(), Some(1));
        new.commit(entry(event::USE, "own").encode()).await.unwrap();
        new.append(entry(event::RESULT, "own").encode()).unwrap();
        new.close().await.unwrap();
        assert!(!lines(dir.path()).contains(&line("recovered", "open")));
        let after = open(dir.path(), None);
        after.close().await.unwrap();
        assert_eq!(lines(dir.path()).last(), Some(&line("recovered", "open")));
    }

    /// A process that ends before it serves, after it did this.
    struct Fails<F: FnMut() + Send>(F);

    impl<F: FnMut() + Send> NextWriter for Fails<F> {
        fn begin(&mut self, _: Option<u64>) -> io::Result<()> {
            (self.0)();
            Err(io::ErrorKind::UnexpectedEof.into())
        }

        fn write(&mut self, _: &[u8]) -> io::Result<bool> {
            panic!("it has not begun");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_the_other_one_does_not_write_this_one_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let old = open(dir.path(), None);
        let commit = |request| old.commit(entry(event::USE, request).encode());
        commit("goes on").await.unwrap();
        for _ in 0..2 {
            let failed = old.hand_over(Box::new(Fails(|| {}))).await.unwrap_err();
            assert!(failed.is_back, "{failed:?}");
        }
        commit("later").await.unwrap();
        for request in ["goes on", "later"] {
            old.append(entry(event::RESULT, request).encode()).unwrap();
        }
        old.close().await.unwrap();
        let expected = [
            line("use", "goes on"),
            line("use", "later"),
            line("result", "goes on"),
            line("result", "later"),
        ];
        assert_eq!(lines(dir.path()), expected);
        assert_eq!(taken_back(dir.path()), ["", ""]);
        // The end was a clean one.
        open(dir.path(), None).close().await.unwrap();
        assert_eq!(lines(dir.path()), expected);
    }

    /// Where the `ledger.taken_back` lines say that another process wrote.
    fn taken_back(dir: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(dir.join(crate::ledger::CURRENT)).unwrap();
        let records = text
            .lines()
            .map(|line| Record::parse(line.as_bytes()).unwrap());
        records
            .filter(|record| record.entry.event == event::TAKEN_BACK)
            .map(|record| record.entry.locations.join(","))
            .collect()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_the_other_one_let_through_before_it_ended_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let old = open(dir.path(), None);
        let commit = |request| old.commit(entry(event::USE, request).encode());
        commit("goes on").await.unwrap();
        let runtime = tokio::runtime::Handle::current();
        let place = dir.path().to_owned();
        let serves_a_moment = move || {
            let new = open(&place, Some(1));
            let used = new.commit(entry(event::USE, "of the other").encode());
            runtime.block_on(used).unwrap();
            runtime.block_on(new.close()).unwrap();
        };
        let failed = old.hand_over(Box::new(Fails(serves_a_moment))).await;
        assert!(failed.unwrap_err().is_back);
        commit("later").await.unwrap();
        let expected = [
            line("use", "goes on"),
            line("use", "of the other"),
            line("recovered", "of the other"),
            line("use", "later"),
        ];
        assert_eq!(lines(dir.path()), expected);
        assert_eq!(taken_back(dir.path()), ["2-2"]);
        // What goes on here was not cut short: it is looked for by the next start.
        old.append(entry(event::RESULT, "goes on").encode())
            .unwrap();
        old.close().await.unwrap();
        open(dir.path(), None).close().await.unwrap();
        assert_eq!(lines(dir.path()).last(), Some(&line("recovered", "later")));
    }

    /// It would go on after lines that are not the ones it has written.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_ledger_that_was_changed_meanwhile_is_not_taken_back_and_no_use_is_let_through() {
        let dir = tempfile::tempdir().unwrap();
        let old = open(dir.path(), None);
        old.commit(entry(event::USE, "x").encode()).await.unwrap();
        let current = dir.path().join(crate::ledger::CURRENT);
        let changed = std::fs::read_to_string(&current)
            .unwrap()
            .replace("\"x\"", "\"y\"");
        let change = move || std::fs::write(&current, &changed).unwrap();
        let failed = old.hand_over(Box::new(Fails(change))).await.unwrap_err();
        assert!(!failed.is_back);
        let used = old.commit(entry(event::USE, "z").encode()).await;
        assert_eq!(used, Err(LedgerUnavailable::WriteFailed));
        old.close().await.unwrap();
        let failed = old.hand_over(Box::new(Fails(|| {}))).await.unwrap_err();
        assert!(!failed.is_back);
        assert_eq!(lines(dir.path()), [line("use", "y")]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_is_no_line_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path(), Some(1));
        let refused = tokio::task::spawn_blocking({
            let mut relayed = Relayed::of(&ledger);
            move || {
                for text in [
                    &b""[..],
                    b"\n",
                    b"\n\n",
                    b"x\ny\n",
                    b"\",\"event\":\"use\",\"prev\":\"\n\"}\n{}\n\n",
                ] {
                    assert_eq!(relayed.write(text.to_vec()), Err(NoLines));
                }
            }
        });
        refused.await.unwrap();
        ledger.close().await.unwrap();
        assert_eq!(lines(dir.path()), []);
    }
}
