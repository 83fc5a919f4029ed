//! The files of a ledger: their names, and the order in which they hold the lines.
//!
//! ```text
//! ledger/
//!   lock                            held by the one writer
//!   current.jsonl                   being written
//!   00000000000000020001.jsonl      rotated; named by the sequence number of its first line
//!   00000000000000000001.jsonl.zst  the same, compressed
//!   checkpoints                     signed notes, each followed by an empty line
//!   cosigned                        the last checkpoint that each witness has cosigned
//!   signing.key  public.key         what signs them, sealed, and what checks them
//!   checkpoints-<microseconds>      those of a signing key that was lost
//!   torn-<microseconds>.jsonl       torn, unlinked or foreign lines, set aside
//! ```
//!
//! Reading takes no lock, so files move under a reader: [`segments`] may name a plain file that is
//! compressed the next moment, or miss the one that `current.jsonl` just became. Whoever finds a
//! file gone, or a gap between the last rotated line and the first of `current.jsonl`, lists again.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

/// The file that is being written, inside the ledger's directory.
pub const CURRENT: &str = "current.jsonl";
/// What becomes [`CURRENT`] at a rotation.
pub const NEXT: &str = "next.jsonl";
/// The signed checkpoints, oldest first.
pub const CHECKPOINTS: &str = "checkpoints";
/// The last checkpoint that each witness has cosigned.
pub const COSIGNED: &str = "cosigned";
/// The seed of the key that signs checkpoints, sealed.
pub const SIGNING_KEY: &str = "signing.key";
/// The key that checks them, as one line `NAME+ID+KEY`.
pub const PUBLIC_KEY: &str = "public.key";
/// Held locked by whoever writes.
pub const LOCK: &str = "lock";

/// How much of a file is read at once, in bytes.
const BUFFER: usize = 256 * 1024;

const PLAIN: &str = "jsonl";
const COMPRESSED: &str = "jsonl.zst";
/// Digits of a sequence number in a name: those of the largest, so that names sort as numbers.
const DIGITS: usize = 20;

/// How the lines of a segment lie on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As they were written, and no more are added.
    Plain,
    /// In one zstd frame.
    Zstd,
    /// As they were written, and more are added.
    Current,
}

/// A file with consecutive lines of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Where it is.
    pub path: PathBuf,
    /// The sequence number of its first line, as its name says; `current.jsonl` does not tell.
    pub first: Option<u64>,
    /// How it is to be read.
    pub form: Form,
}

impl Segment {
    /// The bytes of its lines, as they were written.
    ///
    /// # Errors
    /// When the file cannot be opened; a compressed one that is damaged shows that while it is read.
    pub fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        let file = File::open(&self.path)?;
        Ok(match self.form {
            Form::Plain | Form::Current => Box::new(BufReader::with_capacity(BUFFER, file)),
            Form::Zstd => Box::new(BufReader::with_capacity(
                BUFFER,
                zstd::stream::read::Decoder::new(file)?,
            )),
        })
    }
}

/// Where the rotated file whose first line has this sequence number is kept.
pub fn rotated(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:0DIGITS$}.{PLAIN}"))
}

/// Where the same file is kept once it is compressed.
pub fn compressed(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:0DIGITS$}.{COMPRESSED}"))
}

/// The sequence number and form that the name of a rotated file says; `None` for all other
/// names, also for other spellings of a number.
pub fn parse_name(name: &str) -> Option<(u64, Form)> {
    let (number, extension) = name.split_once('.')?;
    let form = match extension {
        PLAIN => Form::Plain,
        COMPRESSED => Form::Zstd,
        _ => return None,
    };
    let is_plain_number = number.len() == DIGITS && number.bytes().all(|b| b.is_ascii_digit());
    let first = is_plain_number.then(|| number.parse().ok()).flatten()?;
    (first > 0).then_some((first, form))
}

/// The files that hold the lines of the ledger in `dir`, oldest lines first, `current.jsonl` last
/// if it is there. Where a file is there both plain and compressed, the plain one counts: the
/// other may not be complete yet.
///
/// # Errors
/// When the directory cannot be read; one that does not exist holds no files.
pub fn segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = rotated_segments(dir)?;
    let current = dir.join(CURRENT);
    if current.try_exists()? {
        segments.push(Segment {
            path: current,
            first: None,
            form: Form::Current,
        });
    }
    Ok(segments)
}

/// As [`segments`], without `current.jsonl`.
///
/// # Errors
/// As [`segments`].
pub fn rotated_segments(dir: &Path) -> io::Result<Vec<Segment>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if let Some((first, form)) = OsStr::to_str(&name).and_then(parse_name) {
            segments.push(Segment {
                path: entry.path(),
                first: Some(first),
                form,
            });
        }
    }
    segments.sort_by_key(|segment| (segment.first, segment.form == Form::Zstd));
    segments.dedup_by_key(|segment| segment.first);
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_frozen_and_read_back() {
        let dir = Path::new("ledger");
        let name = |path: PathBuf| path.strip_prefix(dir).unwrap().to_str().unwrap().to_owned();
        let plain = name(rotated(dir, 20_001));
        let zstd = name(compressed(dir, u64::MAX));
        assert_eq!(plain, "00000000000000020001.jsonl");
        assert_eq!(zstd, "18446744073709551615.jsonl.zst");
        assert_eq!(parse_name(&plain), Some((20_001, Form::Plain)));
        assert_eq!(parse_name(&zstd), Some((u64::MAX, Form::Zstd)));
    }

    #[test]
    fn other_files_are_no_segments() {
        for name in [
            CURRENT,
            NEXT,
            CHECKPOINTS,
            "1.jsonl",
            "00000000000000000000.jsonl",
            "000000000000000000001.jsonl",
            "+0000000000000000001.jsonl",
            "99999999999999999999.jsonl",
            "00000000000000000001.jsonl.zst.new",
            "00000000000000000001.jsonl.gz",
            "00000000000000000001",
            "torn-00000000000000000001.jsonl",
            "",
        ] {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    #[test]
    fn segments_are_listed_in_the_order_of_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in [
            CURRENT,
            CHECKPOINTS,
            "torn-1.jsonl",
            "00000000000000000101.jsonl",
            "00000000000000000101.jsonl.zst",
            "00000000000000000001.jsonl.zst",
            "00000000000000001001.jsonl",
            "00000000000000002001.jsonl.zst.new",
        ] {
            fs::write(path(name), b"").unwrap();
        }
        let expected = [
            ("00000000000000000001.jsonl.zst", Some(1), Form::Zstd),
            ("00000000000000000101.jsonl", Some(101), Form::Plain),
            ("00000000000000001001.jsonl", Some(1001), Form::Plain),
            (CURRENT, None, Form::Current),
        ];
        let expected = expected.map(|(name, first, form)| Segment {
            path: path(name),
            first,
            form,
        });
        assert_eq!(segments(dir.path()).unwrap(), expected);
        assert_eq!(rotated_segments(dir.path()).unwrap(), expected[..3]);
        assert_eq!(segments(&path("missing")).unwrap(), []);
    }
}
