//! A check of the whole ledger beside its writer, of which there is one at a time.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::format::timestamp::Timestamp;
use super::priority::come_last;
use super::verify::{Ask, VerifyError, directory};
use crate::clock;

/// A check that somebody asked for. Clones share it.
#[derive(Clone, Default)]
pub struct BackgroundCheck(Arc<Mutex<Numbered>>);

/// A check, and how many were begun up to it.
#[derive(Clone, Default)]
struct Numbered {
    number: u64,
    latest: Latest,
}

/// The check that runs, or the last one.
#[derive(Clone, Default)]
pub enum Latest {
    /// There was none since the start.
    #[default]
    None,
    /// It runs.
    Running(Ask),
    /// It ended.
    Ended {
        /// When.
        at: Timestamp,
        /// What it found.
        found: Found,
    },
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// All is in order.
    Whole {
        /// Lines that were checked.
        lines: u64,
        /// Checkpoints whose signature was checked.
        checkpoints: u64,
        /// Lines after the last of them.
        unsigned: u64,
        /// Checkpoints kept elsewhere with which it agrees.
        kept: u64,
    },
    /// What is wrong.
    Wrong(String),
    /// The files could not be read. Why not is in the log: it can hold a path of this machine.
    Unreadable,
}

impl Latest {
    /// How many lines the running check has read; `None` if none runs.
    pub fn progress(&self) -> Option<u64> {
        match self {
            Self::Running(ask) => Some(ask.progress.load(Relaxed)),
            Self::None | Self::Ended { .. } => None,
        }
    }
}

impl BackgroundCheck {
    /// The check that runs, or the last one.
    pub fn latest(&self) -> Latest {
        self.numbered().1
    }

    /// The same, with its number: another number is another check.
    pub fn numbered(&self) -> (u64, Latest) {
        let Numbered { number, latest } = self.lock().clone();
        (number, latest)
    }

    fn lock(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to check the ledger in `dir`, unless a check runs: the number of the check that begins.
    /// Requests go first.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub fn begin(&self, dir: &Path, ask: Ask) -> std::io::Result<Option<u64>> {
        let number = {
            let mut state = self.lock();
            if matches!(state.latest, Latest::Running(_)) {
                return Ok(None);
            }
            state.number += 1;
            state.latest = Latest::Running(ask.clone());
            state.number
        };
        let (check, dir) = (self.clone(), dir.to_owned());
        let started = thread::Builder::new()
            .name("ledger-check".to_owned())
            .spawn(move || {
                come_last();
                let found = found(&dir, &ask);
                let at = Timestamp::from_unix_micros(clock::unix_micros());
                check.lock().latest = Latest::Ended { at, found };
            });
        started
            .map(|_| Some(number))
            .inspect_err(|_| self.lock().latest = Latest::None)
    }
}

fn found(dir: &Path, ask: &Ask) -> Found {
    match directory(dir, ask) {
        Ok(verified) => Found::Whole {
            lines: verified.report.lines,
            checkpoints: verified.report.checkpoints,
            unsigned: verified.report.unsigned,
            kept: verified.report.kept,
        },
        Err(VerifyError::Io { path, source }) => {
            tracing::error!(path = %path.display(), error = %source, "the ledger cannot be checked");
            Found::Unreadable
        }
        Err(error) => {
            tracing::error!(%error, "the ledger does not verify");
            Found::Wrong(error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn ended(dir: &Path) -> Found {
        let check = BackgroundCheck::default();
        assert!(matches!(check.latest(), Latest::None));
        let begun = check.begin(dir, Ask::default()).unwrap();
        assert_eq!(begun, Some(1));
        let again = check.begin(dir, Ask::default()).unwrap();
        assert!([None, Some(2)].contains(&again), "{again:?}");
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(20) {
            if let Latest::Ended { found, .. } = check.latest() {
                return found;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the check did not end");
    }

    #[test]
    fn what_is_wrong_is_found_beside_the_writer() {
        let dir = tempfile::tempdir().unwrap();
        let whole = |lines| Found::Whole {
            lines,
            checkpoints: 0,
            unsigned: 0,
            kept: 0,
        };
        assert_eq!(ended(dir.path()), whole(0));
        std::fs::write(dir.path().join(crate::ledger::CURRENT), "no line\n").unwrap();
        assert!(matches!(ended(dir.path()), Found::Wrong(_)));
    }
}
