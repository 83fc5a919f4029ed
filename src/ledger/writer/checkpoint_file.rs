//! The file of checkpoints, as its writer sees it: the end is read at start, and notes are added.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::directory;
use super::storage::LedgerError;
use crate::ledger::format::checkpoint::{Checkpoint, Notes};
use crate::ledger::format::note::Verifier;
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::layout;

/// How much is read at once on the way back through the file, in bytes. A note has one to three
/// thousand.
const WINDOW: u64 = 1024 * 1024;

/// The file `checkpoints`, open for adding to it.
pub(super) struct NoteFile {
    file: File,
    path: PathBuf,
    /// Bytes of whole notes.
    length: u64,
    /// The file may hold bytes behind `length`.
    needs_cut: bool,
}

impl NoteFile {
    /// Writes a note and an empty line behind the others, durably.
    pub(super) fn append(&mut self, note: &str) -> io::Result<()> {
        if self.needs_cut {
            // Anew, because an error may stick to the old descriptor.
            self.file = OpenOptions::new().append(true).open(&self.path)?;
            self.file.set_len(self.length)?;
        }
        self.needs_cut = true;
        let bytes = format!("{note}\n");
        self.file.write_all(bytes.as_bytes())?;
        self.file.sync_data()?;
        self.needs_cut = false;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// What the end of the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Latest {
    /// The last checkpoint that the key has signed.
    pub(super) last: Option<Checkpoint>,
    /// The size of the last one at which no request was under way; 0 when there is none.
    pub(super) boundary: u64,
    /// Notes behind the last one that the key has not signed.
    pub(super) unsigned: usize,
    /// The file holds something.
    pub(super) is_written: bool,
}

/// Opens the file, which is made if it is not there, and reads its end. Looks for the boundary no
/// further back than `look_back` lines before the last checkpoint.
pub(super) fn open(
    dir: &Path,
    verifier: &Verifier,
    look_back: u64,
    now: Timestamp,
) -> Result<(NoteFile, Latest), LedgerError> {
    let path = dir.join(layout::CHECKPOINTS);
    let at = LedgerError::at(&path);
    let mut file = directory::open_for_append(&path).map_err(&at)?;
    let written = file.metadata().map_err(&at)?.len();
    let mut length = whole_length(&mut file, written).map_err(&at)?;
    if length < written {
        let torn = written - length;
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(length))
            .and_then(|_| (&file).take(torn).read_to_end(&mut bytes))
            .map_err(&at)?;
        let aside = directory::set_aside(dir, &bytes, now)?;
        tracing::warn!(
            torn = %aside.display(),
            "the last checkpoint was torn by a crash, or is none, and was set aside"
        );
        file.set_len(length).map_err(&at)?;
    }
    file.sync_all().map_err(&at)?;
    let mut latest = Latest {
        is_written: written > 0,
        ..Latest::default()
    };
    let whole = length;
    while length > 0 {
        let Some((start, text)) = window(&mut file, length).map_err(&at)? else {
            break;
        };
        if latest.read(&text, verifier, look_back) {
            break;
        }
        length = start;
    }
    let notes = NoteFile {
        file,
        path,
        length: whole,
        needs_cut: false,
    };
    Ok((notes, latest))
}

impl Latest {
    /// Takes in notes that stand before those seen so far; returns whether no more are needed.
    fn read(&mut self, text: &str, verifier: &Verifier, look_back: u64) -> bool {
        let notes: Vec<&str> = Notes::new(text).collect();
        for note in notes.into_iter().rev() {
            // Checking a signature costs more than reading; most notes need only be read.
            let Some(last) = &self.last else {
                match Checkpoint::open(note, verifier) {
                    Ok(checkpoint) => {
                        let is_boundary = checkpoint.cause.is_boundary();
                        self.boundary = if is_boundary { checkpoint.size() } else { 0 };
                        self.last = Some(checkpoint);
                        if is_boundary {
                            return true;
                        }
                    }
                    Err(_) => self.unsigned += 1,
                }
                continue;
            };
            let cause = |cause: &str| note.contains(&format!("\ncause {cause}\n"));
            if !["start", "shutdown", "recovery"].into_iter().any(cause) {
                continue;
            }
            if let Ok(checkpoint) = Checkpoint::open(note, verifier) {
                let near = last.size().saturating_sub(checkpoint.size()) <= look_back;
                self.boundary = if near { checkpoint.size() } else { 0 };
                return true;
            }
        }
        false
    }
}

/// The length of the file up to the end of its last whole note. What is not even text is no note.
fn whole_length(file: &mut File, written: u64) -> io::Result<u64> {
    let mut end = written;
    while end > 0 {
        let start = end.saturating_sub(WINDOW);
        let bytes = read(file, start, end)?;
        let from = first_note(&bytes, start);
        if let Some(from) = from {
            let valid = match str::from_utf8(&bytes[from..]) {
                Ok(text) => text,
                Err(error) => {
                    str::from_utf8(&bytes[from..from + error.valid_up_to()]).unwrap_or("")
                }
            };
            let mut notes = Notes::new(valid);
            if notes.by_ref().count() > 0 || start + from as u64 == 0 {
                return Ok(start + from as u64 + (valid.len() - notes.rest().len()) as u64);
            }
        }
        end = start;
    }
    Ok(0)
}

/// The notes that end at `end`, as many as fit a window, and where the first of them begins.
/// `None` when what stands there is not notes.
fn window(file: &mut File, end: u64) -> io::Result<Option<(u64, String)>> {
    let start = end.saturating_sub(WINDOW);
    let mut bytes = read(file, start, end)?;
    let Some(from) = first_note(&bytes, start) else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes.split_off(from)).ok();
    Ok(text.map(|text| (start + from as u64, text)))
}

fn read(file: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    (&*file).take(end - start).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where the first note begins in a piece of the file: at its start, if that is the file's, else
/// behind an empty line that no signature follows.
fn first_note(bytes: &[u8], start: u64) -> Option<usize> {
    if start == 0 {
        return Some(0);
    }
    let mut ends = memchr::memmem::find_iter(bytes, b"\n\n").map(|at| at + 2);
    ends.find(|&end| end < bytes.len() && !bytes[end..].starts_with("\u{2014}".as_bytes()))
}
