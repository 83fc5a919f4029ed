//! The writer gives way to one in another process, and takes the ledger back if that one does not serve.

use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::{Again, Writer};
use crate::ledger::writer::batch::Batch;
use crate::ledger::writer::before::Before;
use crate::ledger::writer::error::{Answer, LedgerError};
use crate::ledger::writer::next_writer::NotFollowed;
use crate::ledger::writer::queue::Next;
use crate::ledger::writer::relay::Relay;
use crate::ledger::writer::storage::Storage;

/// How long it is tried to open the ledger again: for as long as requests wait for that.
const RETURN: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(100);

impl<S: Storage> Writer<S> {
    /// Writes until the ledger is closed, here or through the writer that follows.
    pub(super) fn run_to_the_end(self, patience: Duration, again: &Again<S>) -> Answer {
        let mut writer = self;
        let (queue, stats) = (Arc::clone(&writer.queue), Arc::clone(&writer.stats));
        loop {
            let result = writer.run(patience);
            let mut unwritten = mem::take(&mut writer.backlog);
            let first = writer.open_requests.first();
            let before = Before::Itself {
                first,
                last: writer.end.chain.next_seq() - 1,
            };
            // The lock goes with the file, before anyone hears that the ledger is closed.
            drop(writer);
            let Some(next) = queue.next() else {
                return result;
            };
            let Next {
                writer: mut follower,
                told,
            } = next;
            let Err(error) = follower.begin(first) else {
                queue.passed_on();
                // Who waits may have given up.
                let _ = told.send(Ok(()));
                return Relay::to(queue, stats, Some(follower), unwritten).run(patience);
            };
            tracing::error!(%error, "the new program does not write the ledger");
            let reopened = open_again(again, before);
            queue.passed_on();
            let _ = told.send(Err(NotFollowed {
                reason: error.to_string(),
                is_back: reopened.is_ok(),
            }));
            writer = match reopened {
                Ok(writer) => writer,
                Err(error) => {
                    tracing::error!(%error, "the ledger cannot be taken back");
                    return Relay::to(queue, stats, None, unwritten).run(patience);
                }
            };
            tracing::warn!("this program writes the ledger again");
            // What opening has found out comes after what was waiting before.
            put_before(&mut unwritten, &mut writer.backlog);
        }
    }
}

/// Tries for a while: the other process may have to be waited for, and a disk may come back.
fn open_again<S>(again: &Again<S>, before: Before) -> Result<Writer<S>, LedgerError> {
    let begun = Instant::now();
    loop {
        match again(before) {
            Err(LedgerError::Locked(_) | LedgerError::Io { .. }) if begun.elapsed() < RETURN => {
                thread::sleep(PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Puts a batch before another one.
fn put_before(first: &mut Batch, rest: &mut Batch) {
    first.append(rest);
    mem::swap(first, rest);
}
