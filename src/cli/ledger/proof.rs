//! `egret ledger prove`, `verify-proof` and `checkpoint`: evidence for someone else.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::describe::describe;
use super::verify::{public_key, read_note, read_text};
use crate::cli::output::{self, Format, Style};
use crate::cli::remote::{Remote, segment};
use crate::cli::when;
use crate::ledger::proof::{Proof, latest, prove};
use crate::ledger::verify::read_key;
use crate::views;

/// Why there is neither a key nor a checkpoint.
const NOT_SIGNED: &str = "nothing in this ledger is signed yet: the first start of `egret serve` or \
                          `egret run` makes the signing key";

/// Prove to someone else that a line is in the usage record
///
/// Writes the line, its place, the path to the root and the signed checkpoint. `egret ledger
/// verify-proof` needs only this and the ledger's public key. The format is that of C2SP
/// (https://c2sp.org/tlog-proof), which tools of other logs read.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret ledger prove 4711 > 4711.tlog-proof
  egret ledger prove 4711 --checkpoint yesterday.note --output 4711.tlog-proof")]
pub(super) struct Prove {
    /// The sequence number of the line
    #[arg(value_name = "SEQ")]
    seq: u64,
    /// A checkpoint, kept elsewhere, to prove it under; by default the first one that covers it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "json")]
    output: Option<PathBuf>,
    #[command(flatten)]
    format: Format,
}

impl Prove {
    pub(super) fn run(self, dir: &Path) -> anyhow::Result<()> {
        let kept = self.checkpoint.as_deref().map(read_note).transpose()?;
        let proof = prove(dir, self.seq, kept)?;
        let text = proof.to_string();
        if self.format.json {
            return output::json(&views::LedgerProof::new(&proof, &text));
        }
        self.write(&text)
    }

    fn write(&self, text: &str) -> anyhow::Result<()> {
        match &self.output {
            None => output::print(text),
            Some(path) => {
                fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
            }
        }
    }

    /// The same of a server elsewhere.
    pub(super) async fn at(self, server: &Remote) -> anyhow::Result<()> {
        let kept = self.checkpoint.as_deref().map(read_note).transpose()?;
        let query = kept.map(|note| format!("?checkpoint={}", segment(&note)));
        let path = format!("/ledger/{}/proof{}", self.seq, query.unwrap_or_default());
        let view: Value = server.get(&path).await?;
        if self.format.json {
            return output::json(&view);
        }
        let text = view["proof"].as_str();
        self.write(text.context("the server answered without a proof")?)
    }
}

/// Check a proof that a line is in a usage record
///
/// Needs only the proof and the public key: no ledger, no configuration, no network.
#[derive(Args)]
#[command(after_help = "\
Example:
  egret ledger verify-proof 4711.tlog-proof --public-key ledger.pub")]
pub(super) struct VerifyProof {
    /// The proof
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The public key of the ledger: the key itself or a file that holds it
    #[arg(long, value_name = "KEY")]
    public_key: String,
    #[command(flatten)]
    format: Format,
}

impl VerifyProof {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = public_key(&self.public_key)?;
        let proof: Proof = read_text(&self.file)?.parse()?;
        let proven = proof.check(&key).context("the proof does not hold")?;
        let (record, checkpoint) = (&proven.record, &proven.checkpoint);
        if self.format.json {
            return output::json(&views::ProvenLine {
                origin: checkpoint.origin.as_str(),
                record,
                signed: checkpoint.time,
                size: checkpoint.size(),
                verified: true,
            });
        }
        output::print(&format!(
            "Line {} is in the ledger {} as it was signed at {} ({}):\n{}\n{}\n",
            record.seq,
            checkpoint.origin,
            checkpoint.time,
            output::count(checkpoint.size(), "line"),
            describe(record, Style::of_stdout()),
            output::printable(&proof.line),
        ))
    }
}

/// Print the latest checkpoint, to be kept elsewhere
///
/// A checkpoint is the size and root hash of the whole record, signed. With one kept elsewhere you
/// can check later, without trusting the operator, that nothing up to it was changed or cut off:
/// `egret ledger verify --checkpoint FILE`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret ledger checkpoint > $(date +%F).note
  egret ledger checkpoint --key > ledger.pub     the public key, to be kept with it")]
pub(super) struct Checkpoint {
    /// Print the public key instead
    #[arg(long)]
    key: bool,
    #[command(flatten)]
    format: Format,
}

impl Checkpoint {
    /// The same of a server elsewhere.
    pub(super) async fn at(self, server: &Remote) -> anyhow::Result<()> {
        let signed: views::SignedCheckpoint = server.get("/ledger/checkpoint").await?;
        self.show(&signed)
    }

    fn show(self, signed: &views::SignedCheckpoint) -> anyhow::Result<()> {
        if self.key {
            let key = signed.key.clone();
            return output::data(self.format, &views::LedgerKey { key }, || {
                format!("{}\n", signed.key)
            });
        }
        let view = views::Checkpoint {
            age: when::ago(signed.time.unix_micros() / 1_000_000, when::now()),
            key: signed.key.clone(),
            note: &signed.note,
            origin: &signed.origin,
            size: signed.size,
            time: signed.time,
        };
        output::data(self.format, &view, || signed.note.clone())
    }

    pub(super) fn run(self, dir: &Path) -> anyhow::Result<()> {
        let key = read_key(dir)?.context(NOT_SIGNED)?;
        if self.key {
            let view = views::LedgerKey {
                key: key.to_string(),
            };
            return output::data(self.format, &view, || format!("{key}\n"));
        }
        let latest = latest(dir).context("the latest checkpoint is refused")?;
        let latest = latest.context(
            "there is no checkpoint yet: the first start of `egret serve` or `egret run` writes one",
        )?;
        self.show(&views::SignedCheckpoint::new(&latest))
    }
}
