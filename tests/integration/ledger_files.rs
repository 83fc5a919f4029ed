//! A ledger on disk, read and checked without Egret's code: the hash chain, the sequence numbers,
//! and every checkpoint by the definitions of RFC 6962 and C2SP signed-note.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use crate::durability::{line_hash, verify_chain};

type Hash = Vec<u8>;

/// How often a ledger is read again when its files change meanwhile.
const READS: usize = 200;

/// The lines of all files, oldest first.
pub fn lines(dir: &Path) -> Vec<Vec<u8>> {
    let bytes = contents(dir);
    let end = bytes
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |at| at + 1);
    let whole = bytes[..end].split_inclusive(|b| *b == b'\n');
    whole.map(|line| line[..line.len() - 1].to_vec()).collect()
}

/// The content of all files, concatenated. A running server rotates and compresses them, so what
/// was read counts only if the files are the same afterwards.
fn contents(dir: &Path) -> Vec<u8> {
    for _ in 0..READS {
        let listed = files(dir);
        let read: Option<Vec<_>> = listed.iter().map(|file| content(file)).collect();
        if let Some(read) = read
            && files(dir) == listed
        {
            return read.concat();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the ledger's files never stay the same");
}

/// The content of a file; `None` if it is gone.
fn content(file: &Path) -> Option<Vec<u8>> {
    let content = match std::fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        content => content.expect("a ledger file"),
    };
    if file.extension().is_none_or(|extension| extension != "zst") {
        return Some(content);
    }
    let mut bytes = Vec::new();
    let mut decoder = zstd::stream::read::Decoder::new(&content[..]).expect("zstd");
    decoder.read_to_end(&mut bytes).expect("a whole frame");
    Some(bytes)
}

/// Rotated files and the current one in the order of their lines.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).expect("the ledger's directory");
    let mut rotated: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let number = name.split('.').next().unwrap_or_default();
            number.len() == 20 && !name.ends_with(".new")
        })
        .collect();
    rotated.sort();
    // Where a file exists plain and compressed, the plain one counts.
    rotated.dedup_by(|later, earlier| later.file_stem() == earlier.file_name());
    rotated.push(dir.join("current.jsonl"));
    rotated
}

fn sha256(parts: &[&[u8]]) -> Hash {
    digest(&SHA256, &parts.concat()).as_ref().to_vec()
}

/// `MTH` of RFC 6962 section 2.1. The hashes of complete subtrees are cached.
fn root(
    leaves: &[Hash],
    from: usize,
    to: usize,
    known: &mut HashMap<(usize, usize), Hash>,
) -> Hash {
    match to - from {
        0 => return sha256(&[]),
        1 => return leaves[from].clone(),
        _ => {}
    }
    if let Some(hash) = known.get(&(from, to)) {
        return hash.clone();
    }
    let middle = from + (to - from).next_power_of_two() / 2;
    let left = root(leaves, from, middle, known);
    let right = root(leaves, middle, to, known);
    let hash = sha256(&[&[1], &left, &right]);
    known.insert((from, to), hash.clone());
    hash
}

/// A checkpoint's size and cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub size: usize,
    pub cause: String,
}

/// Checks a ledger from which no file was dropped; returns its lines and checkpoints.
pub fn check(dir: &Path) -> (Vec<Value>, Vec<Checkpoint>) {
    let lines = lines(dir);
    let borrowed: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    verify_chain(&borrowed).expect("the chain");
    let records: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_slice(line).expect("a record"))
        .collect();
    for (index, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], index + 1);
    }
    let leaves: Vec<Hash> = lines.iter().map(|line| sha256(&[&[0], line])).collect();
    let mut known = HashMap::new();
    let key = std::fs::read_to_string(dir.join("public.key")).expect("the public key");
    let text = std::fs::read_to_string(dir.join("checkpoints")).expect("the checkpoints");
    let mut checkpoints = Vec::new();
    let mut rest = text.as_str();
    while let Some(body) = rest.find("\n\n") {
        let Some(end) = rest[body + 2..].find("\n\n") else {
            break; // Torn by a kill.
        };
        let signed = &rest[..=body];
        let signature = &rest[body + 2..body + 2 + end];
        rest = &rest[body + 2 + end + 2..];
        assert_signed(signed, signature, key.trim_end());
        let part: Vec<&str> = signed.lines().collect();
        let size: usize = part[1].parse().expect("a size");
        assert!(size <= lines.len(), "{size} of {} lines", lines.len());
        let expected = root(&leaves, 0, size, &mut known);
        assert_eq!(part[2], BASE64_STANDARD.encode(expected), "root of {size}");
        let head = size
            .checked_sub(1)
            .map_or_else(|| "0".repeat(64), |last| line_hash(&lines[last]));
        assert_eq!(part[5], format!("head {head}"));
        checkpoints.push(Checkpoint {
            size,
            cause: part[4].trim_start_matches("cause ").to_owned(),
        });
    }
    assert!(checkpoints.is_sorted_by_key(|checkpoint| checkpoint.size));
    (records, checkpoints)
}

/// C2SP signed-note, with one signature by the ledger's key.
fn assert_signed(text: &str, line: &str, key: &str) {
    let part: Vec<&str> = key.splitn(3, '+').collect();
    let public = BASE64_STANDARD.decode(part[2]).expect("a public key");
    let signature = line
        .strip_prefix(&format!("\u{2014} {} ", part[0]))
        .expect("a signature line");
    let signature = BASE64_STANDARD.decode(signature).expect("a signature");
    UnparsedPublicKey::new(&ED25519, &public[1..])
        .verify(text.as_bytes(), &signature[4..])
        .expect("the signature fits");
    assert!(
        text.starts_with(&format!("{}\n", part[0])),
        "its own origin"
    );
}
