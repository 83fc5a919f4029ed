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

    struct Nobody;

    impl NextWriter for Nobody {
        fn begin(&mut self, _: Option<u64>) -> io::Result<()> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }

        fn write(&mut self, _: &[u8]) -> io::Result<bool> {
            panic!("it has not begun");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_nobody_writes_no_use_is_let_through() {
        let dir = tempfile::tempdir().unwrap();
        let old = open(dir.path(), None);
        let handed = old.hand_over(Box::new(Nobody)).await;
        assert_eq!(handed, Err(LedgerUnavailable::Closed));
        let used = old.commit(entry(event::USE, "x").encode()).await;
        assert_eq!(used, Err(LedgerUnavailable::WriteFailed));
        old.close().await.unwrap();
        assert_eq!(lines(dir.path()), []);
        let handed = old.hand_over(Box::new(Nobody)).await;
        assert_eq!(handed, Err(LedgerUnavailable::Closed));
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
