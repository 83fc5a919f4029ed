//! The file of checkpoints, as its writer sees it: the end is read at start, and notes are added.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::batch::now;
use super::error::LedgerError;
use super::{directory, identity};
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
    /// The file may hold as many bytes by a note that could not be written.
    attempted: u64,
}

impl NoteFile {
    /// Writes a note and an empty line after the others, durably.
    pub(super) fn append(&mut self, note: &str) -> io::Result<()> {
        identity::check(&self.file, &self.path)?;
        if self.file.metadata()?.len() != self.length {
            self.cut()?;
        }
        let bytes = format!("{note}\n");
        self.attempted = self.length + bytes.len() as u64;
        self.file.write_all(bytes.as_bytes())?;
        self.file.sync_data()?;
        self.length = self.attempted;
        Ok(())
    }

    /// Takes back what a note left that could not be written. What somebody else added is set
    /// aside.
    fn cut(&mut self) -> io::Result<()> {
        // Opened again, because an error may stick to the old descriptor.
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).open(&self.path)?;
        identity::check(&self.file, &self.path)?;
        identity::check(&file, &self.path)?;
        let length = file.metadata()?.len();
        if length < self.length {
            return Err(io::Error::other("checkpoints that were on disk are gone"));
        }
        if length > self.attempted {
            file.seek(SeekFrom::Start(self.length))?;
            let dir = self.path.parent().unwrap_or(Path::new("."));
            let aside = directory::set_aside(dir, &mut &file, now()).map_err(io::Error::other)?;
            tracing::error!(
                aside = %aside.display(),
                "somebody else added to the ledger's checkpoints; it was set aside"
            );
            // Once is enough, also when the next step fails.
            self.attempted = length;
        }
        file.set_len(self.length)?;
        self.file = file;
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
    /// Notes after the last one that the key has not signed.
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
        file.seek(SeekFrom::Start(length)).map_err(&at)?;
        let aside = directory::set_aside(dir, &mut (&file).take(torn), now)?;
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
        attempted: whole,
    };
    Ok((notes, latest))
}

/// Gives the file another name, under which it stays, if it holds anything. Returns the name.
pub(super) fn move_away(dir: &Path, now: Timestamp) -> Result<Option<String>, LedgerError> {
    let path = dir.join(layout::CHECKPOINTS);
    let at = LedgerError::at(&path);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Ok(metadata) if metadata.len() == 0 => return Ok(None),
        metadata => metadata.map_err(&at)?,
    };
    let mut micros = now.unix_micros();
    loop {
        let name = format!("{}-{micros}", layout::CHECKPOINTS);
        match identity::rename_to_free_name(&path, &dir.join(&name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => micros += 1,
            renamed => {
                renamed.and_then(|()| directory::sync(dir)).map_err(&at)?;
                return Ok(Some(name));
            }
        }
    }
}

/// The checkpoints of these sizes in a file, of those that the key has signed.
pub(super) fn of_sizes(
    path: &Path,
    verifier: &Verifier,
    sizes: &BTreeSet<u64>,
) -> io::Result<Vec<Checkpoint>> {
    let mut found = Vec::new();
    let mut note = String::new();
    let mut empty_lines = 0;
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        empty_lines += u8::from(line.is_empty());
        if empty_lines < 2 {
            note.push_str(&line);
            note.push('\n');
            continue;
        }
        let size = note.lines().nth(1).and_then(|size| size.parse().ok());
        if size.is_some_and(|size| sizes.contains(&size)) {
            found.extend(Checkpoint::open(&note, verifier).ok());
        }
        note.clear();
        empty_lines = 0;
    }
    Ok(found)
}

impl Latest {
    /// Takes in notes that come before those seen so far; returns whether no more are needed.
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
/// `None` when what is there is not notes.
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
/// after an empty line that no signature follows.
fn first_note(bytes: &[u8], start: u64) -> Option<usize> {
    if start == 0 {
        return Some(0);
    }
    let mut ends = memchr::memmem::find_iter(bytes, b"\n\n").map(|at| at + 2);
    ends.find(|&end| end < bytes.len() && !bytes[end..].starts_with("\u{2014}".as_bytes()))
}
