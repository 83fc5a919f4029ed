//! Room for bodies that are searched to their end before the first byte is sent, so that the upstream
//! learns the right length.
//!
//! The beginning of a body is kept in memory and the rest in a file without a name, which is gone when
//! it is closed, or the process ends. What lies on the disk is encrypted under a key that only this
//! process has, for this body alone: an upload may hold what its sender would not leave on a disk.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use crate::files;

/// How many bytes are sealed at once.
const PIECE: usize = 64 * 1024;
/// The length of the tag after each of them.
const TAG: usize = 16;

/// What all bodies of the process share.
pub struct SpoolSpace {
    directory: PathBuf,
    /// How many bytes of it are taken.
    taken: AtomicU64,
    /// Whether the log says that a body found no room.
    is_told: AtomicBool,
}

/// Room for one body, given back when it is dropped.
pub struct Reservation {
    space: Arc<SpoolSpace>,
    bytes: u64,
}

impl SpoolSpace {
    /// Files are created in `directory`.
    pub fn new(directory: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            directory,
            taken: AtomicU64::new(0),
            is_told: AtomicBool::new(false),
        })
    }

    /// Takes room for a body of this length, if all bodies together have at most `limit` bytes then.
    pub fn reserve(self: &Arc<Self>, bytes: u64, limit: u64) -> Option<Reservation> {
        let add = |taken: u64| taken.checked_add(bytes).filter(|sum| *sum <= limit);
        let added = self
            .taken
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        if added.is_ok() {
            return Some(Reservation {
                space: Arc::clone(self),
                bytes,
            });
        }
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::info!(
                bytes,
                limit,
                "a request body finds no room in body.spool and is searched while it streams, so it \
                 is sent without its length (Transfer-Encoding: chunked); this is logged once"
            );
        }
        None
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.space.taken.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// A body that is being taken in.
pub struct SpoolWriter {
    reservation: Reservation,
    memory: Vec<u8>,
    /// How much is kept in memory.
    in_memory: usize,
    /// What was not sealed yet.
    pending: Zeroizing<Vec<u8>>,
    file: Option<Arc<SealedFile>>,
    pieces: u64,
}

/// A body that was taken in whole.
pub struct Spool {
    memory: Bytes,
    file: Option<Arc<SealedFile>>,
    pieces: u64,
    /// Its length in bytes.
    length: u64,
    _reservation: Reservation,
}

/// Reads a body again from its first byte.
pub struct SpoolReader {
    spool: Arc<Spool>,
    next: NextPiece,
}

#[derive(Clone, Copy)]
enum NextPiece {
    Memory,
    /// The piece of this number.
    Sealed(u64),
}

impl SpoolWriter {
    /// Keeps the first `in_memory` bytes in memory.
    pub fn new(reservation: Reservation, in_memory: usize) -> Self {
        Self {
            reservation,
            memory: Vec::new(),
            in_memory,
            pending: Zeroizing::default(),
            file: None,
            pieces: 0,
        }
    }

    /// Takes the next bytes.
    pub async fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self.in_memory - self.memory.len();
        let (first, rest) = bytes.split_at(bytes.len().min(room));
        self.memory.extend_from_slice(first);
        self.pending.extend_from_slice(rest);
        if self.pending.len() < PIECE {
            Ok(())
        } else {
            self.seal().await
        }
    }

    /// Writes what is pending, in pieces of which only the last of the body may be short.
    async fn seal(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => {
                let directory = self.reservation.space.directory.clone();
                let created = blocking(move || SealedFile::create(&directory)).await?;
                Arc::clone(self.file.insert(Arc::new(created)))
            }
        };
        let pending = std::mem::take(&mut self.pending);
        let whole = if pending.len() < PIECE {
            pending.len()
        } else {
            pending.len() - pending.len() % PIECE
        };
        self.pending = Zeroizing::new(pending[whole..].to_vec());
        let first = self.pieces;
        self.pieces += whole.div_ceil(PIECE) as u64;
        blocking(move || {
            let pieces = (first..).zip(pending[..whole].chunks(PIECE));
            pieces
                .into_iter()
                .try_for_each(|(number, piece)| file.write(number, piece))
        })
        .await
    }

    /// Ends the body.
    pub async fn finish(mut self) -> io::Result<Spool> {
        let sealed = self.pieces * PIECE as u64 + self.pending.len() as u64;
        if !self.pending.is_empty() {
            self.seal().await?;
        }
        Ok(Spool {
            length: self.memory.len() as u64 + sealed,
            memory: self.memory.into(),
            file: self.file,
            pieces: self.pieces,
            _reservation: self.reservation,
        })
    }
}

impl Spool {
    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }
}

impl SpoolReader {
    /// At the first byte.
    pub fn new(spool: Arc<Spool>) -> Self {
        Self {
            spool,
            next: NextPiece::Memory,
        }
    }

    /// The next bytes, and the reader after them. `None` at the end.
    pub async fn read(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if let NextPiece::Memory = self.next {
            self.next = NextPiece::Sealed(0);
            if !self.spool.memory.is_empty() {
                return Ok(Some((self.spool.memory.clone(), self)));
            }
        }
        let NextPiece::Sealed(number) = self.next else {
            return Ok(None);
        };
        let file = self
            .spool
            .file
            .as_ref()
            .filter(|_| number < self.spool.pieces);
        let Some(file) = file.map(Arc::clone) else {
            return Ok(None);
        };
        let length = self.piece_length(number);
        self.next = NextPiece::Sealed(number + 1);
        let piece = blocking(move || file.read(number, length)).await?;
        Ok(Some((piece.into(), self)))
    }

    fn piece_length(&self, number: u64) -> usize {
        let sealed = self.spool.length - self.spool.memory.len() as u64;
        let left = sealed - number * PIECE as u64;
        left.min(PIECE as u64) as usize
    }
}

/// A file without a name, encrypted.
struct SealedFile {
    file: File,
    /// Made for this file. A piece is written once, so its number serves as its nonce.
    key: LessSafeKey,
}

impl SealedFile {
    fn create(directory: &std::path::Path) -> io::Result<Self> {
        let mut key = Zeroizing::new([0; 32]);
        aws_lc_rs::rand::fill(&mut *key).map_err(sealing_failed)?;
        let key = UnboundKey::new(&AES_256_GCM, &*key).map_err(sealing_failed)?;
        Ok(Self {
            file: files::unnamed(directory)?,
            key: LessSafeKey::new(key),
        })
    }

    fn write(&self, number: u64, piece: &[u8]) -> io::Result<()> {
        let mut sealed = Vec::with_capacity(piece.len() + TAG);
        sealed.extend_from_slice(piece);
        self.key
            .seal_in_place_append_tag(nonce(number), Aad::empty(), &mut sealed)
            .map_err(sealing_failed)?;
        self.file.write_all_at(&sealed, offset(number))
    }

    fn read(&self, number: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut sealed = vec![0; length + TAG];
        self.file.read_exact_at(&mut sealed, offset(number))?;
        self.key
            .open_in_place(nonce(number), Aad::empty(), &mut sealed)
            .map_err(sealing_failed)?;
        sealed.truncate(length);
        Ok(sealed)
    }
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn offset(number: u64) -> u64 {
    number * (PIECE + TAG) as u64
}

fn sealing_failed(_: aws_lc_rs::error::Unspecified) -> io::Error {
    io::Error::other("a spooled body could not be sealed or opened")
}

/// Runs what may wait for the disk where it holds up no other request.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(spool: &Arc<Spool>) -> Vec<u8> {
        let mut reader = SpoolReader::new(Arc::clone(spool));
        let mut all = Vec::new();
        while let Some((bytes, rest)) = reader.read().await.unwrap() {
            all.extend_from_slice(&bytes);
            reader = rest;
        }
        all
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_and_is_unreadable_on_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let space = SpoolSpace::new(home.path().into());
        for length in [
            0,
            1,
            99,
            100,
            101,
            PIECE,
            PIECE + 100,
            PIECE + 101,
            3 * PIECE + 7,
        ] {
            let body: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
            let reservation = space.reserve(length as u64, 1 << 20).unwrap();
            let mut writer = SpoolWriter::new(reservation, 100);
            for piece in body.chunks(4093) {
                writer.push(piece).await.unwrap();
            }
            let spool = Arc::new(writer.finish().await.unwrap());
            assert_eq!(spool.length(), length as u64);
            assert!(read_all(&spool).await == body, "{length}");
            assert!(read_all(&spool).await == body, "{length}, the second time");
            if let Some(sealed) = &spool.file {
                let mut disk = vec![0; PIECE.min(length - 100)];
                sealed.file.read_exact_at(&mut disk, 0).unwrap();
                // One encrypted byte is that of the text once in 256 times.
                assert!(disk.len() < 16 || disk != body[100..100 + disk.len()]);
                sealed.file.write_all_at(&[disk[0] ^ 1], 0).unwrap();
                assert!(
                    sealed.read(0, disk.len()).is_err(),
                    "a changed byte is noticed"
                );
            }
            assert_eq!(
                std::fs::read_dir(home.path()).unwrap().count(),
                0,
                "it has no name"
            );
        }
        assert_eq!(space.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn all_bodies_share_one_bound() {
        let space = SpoolSpace::new(PathBuf::new());
        let first = space.reserve(60, 100).unwrap();
        assert!(space.reserve(41, 100).is_none());
        let second = space.reserve(40, 100).unwrap();
        assert!(space.reserve(u64::MAX, 100).is_none());
        drop(first);
        assert!(space.reserve(61, 100).is_none() && space.reserve(60, 100).is_some());
        drop(second);
    }
}
