//! `egret ledger verify`: whether the usage record is whole and as it was signed.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::json;

use super::filters::timestamp;
use crate::cli::output::{self, Format, count};
use crate::cli::remote::Remote;
use crate::cli::when;
use crate::config::Witness;
use crate::ledger::format::cosignature::WitnessKey;
use crate::ledger::format::note::Verifier;
use crate::ledger::verify::{Ask, KeySource, Report, Verified, VerifyError, Witnessed, directory};
use crate::views::{LedgerCheck, LedgerFlaw, VerifiedLedger, rfc3339};

/// The largest key or note that is read from a file, in bytes.
const MAX_FILE: u64 = 64 * 1024;
/// How often a check at a server elsewhere is asked for, and how often a person hears of it.
const POLL: Duration = Duration::from_millis(300);
const SAY: Duration = Duration::from_secs(2);

/// Check that the usage record is whole, in order and as it was signed
///
/// Reads every line. Each must be a record, numbered without gaps and linked to the line before, and
/// the lines up to each checkpoint must be those that were signed. The first bad line is named, and
/// the exit status is then 1. A `ledger.damaged` line, with which Egret named damage when it
/// started, is a bad line too, unless it is given with --known-damage.
///
/// What this proves depends on what you bring. Without --public-key, the key in the ledger's own
/// directory is used; anyone who rewrites the ledger could replace that key too. With a key kept
/// elsewhere, no one without the signing key can have changed what was signed. With a checkpoint
/// kept elsewhere (--checkpoint), no one at all can have changed or cut off what it covers, not even
/// the operator. A witness (--witness) keeps such a checkpoint for you: what it has cosigned is as
/// it saw it. Lines after the last checkpoint kept elsewhere can be cut off without a trace.
///
/// With --server that server checks its own ledger, and its word is what you get.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret ledger verify
  egret ledger verify --public-key egret.ledger/1c6fef5f5fd8a6cd+0ca1d2f3+AT…
  egret ledger verify --public-key ledger.pub --checkpoint yesterday.note --since 1d")]
pub(super) struct Verify {
    /// The ledger's public key, kept elsewhere: the key itself or a file that holds it
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
    /// A checkpoint, kept elsewhere, with which the ledger must still agree; repeatable
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Begin at the last checkpoint before this time; it covers the lines before it
    #[arg(long, value_name = "TIME", value_parser = when::in_past)]
    since: Option<i64>,
    /// Begin at this rotated file; the checkpoint before it covers the lines before it
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    from: Option<String>,
    /// Damage that this line names is known and does not fail the check; repeatable
    #[arg(long, value_name = "SEQ")]
    known_damage: Vec<u64>,
    /// The key of a witness that must have cosigned the ledger; repeatable. Those of the
    /// configuration need not
    #[arg(long, value_name = "KEY")]
    witness: Vec<WitnessKey>,
    #[command(flatten)]
    format: Format,
}

/// A public key from an argument: the key, or a file with it.
pub(super) fn public_key(text: &str) -> anyhow::Result<Verifier> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    let file = read_text(Path::new(text));
    let content = file.context("the public key is neither a key nor a file that can be read")?;
    Ok(content.trim_end().parse()?)
}

/// A small text file.
pub(super) fn read_text(path: &Path) -> anyhow::Result<String> {
    let name = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(name)?;
    let mut text = String::new();
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .with_context(name)?;
    Ok(text)
}

/// A note from a file. The empty line that follows it in the ledger may have been copied with it.
pub(super) fn read_note(path: &Path) -> anyhow::Result<String> {
    Ok(read_text(path)?.trim_end_matches('\n').to_owned() + "\n")
}

impl Verify {
    pub(super) fn run(self, dir: &Path, configured: &[Witness]) -> anyhow::Result<()> {
        let configured = configured.iter().map(|witness| &witness.key);
        let others = configured.filter(|key| !self.witness.contains(key));
        let witnesses = self.witness.iter().chain(others).cloned().collect();
        let ask = Ask {
            witnesses,
            key: self.public_key.as_deref().map(public_key).transpose()?,
            since: self.since.map(timestamp),
            from: self.from.clone(),
            kept: self
                .checkpoint
                .iter()
                .map(|path| read_note(path))
                .collect::<anyhow::Result<_>>()?,
            known_damage: self.known_damage.clone(),
            ..Ask::default()
        };
        match directory(dir, &ask) {
            Ok(found) => {
                self.require_witnesses(&found)?;
                let aside = set_aside(dir);
                let view = VerifiedLedger::new(&found, &aside);
                output::data(self.format, &view, || describe(&found, &aside))
            }
            Err(error) => {
                if self.format.json
                    && let VerifyError::Flaw(flaw) = &error
                {
                    output::json(&LedgerFlaw::new(flaw))?;
                }
                Err(anyhow::Error::new(error).context("the ledger does not verify"))
            }
        }
    }
}

impl Verify {
    /// Fails unless each witness that the command line names has signed.
    fn require_witnesses(&self, found: &Verified) -> anyhow::Result<()> {
        // They come first, in this order.
        for (key, witnessed) in self.witness.iter().zip(&found.witnessed) {
            anyhow::ensure!(
                witnessed.size.is_some(),
                "the ledger does not verify: {} has cosigned nothing of it",
                key.name()
            );
        }
        Ok(())
    }

    /// Has a server elsewhere check its own ledger.
    pub(super) async fn at(self, server: &Remote) -> anyhow::Result<()> {
        ensure!(
            self.witness.is_empty(),
            "--witness needs the files of the ledger, which are on that server; a checkpoint that the witness \
             has cosigned can be given with --checkpoint"
        );
        let key = self.public_key.as_deref().map(public_key).transpose()?;
        let kept: Vec<String> = self
            .checkpoint
            .iter()
            .map(|path| read_note(path))
            .collect::<anyhow::Result<_>>()?;
        let message = json!({
            "public_key": key.map(|key| key.to_string()),
            "checkpoints": kept,
            "since": self.since.map(rfc3339),
            "from": self.from,
            "known_damage": self.known_damage,
        });
        let begun: LedgerCheck = server.post("/ledger/check", &message).await?;
        let ended = until_ended(server, begun).await?;
        output::data(self.format, &ended, || match ended.state.as_ref() {
            "whole" => whole(&ended),
            _ => String::new(),
        })?;
        match (ended.state.as_ref(), &ended.problem) {
            ("whole", _) => Ok(()),
            (_, Some(problem)) => bail!("the ledger does not verify: {problem}"),
            _ => bail!("the server cannot read its ledger; the reason is in its log"),
        }
    }
}

/// Waits for the end of a check, and says how far it is to a person who watches.
async fn until_ended(server: &Remote, begun: LedgerCheck) -> anyhow::Result<LedgerCheck> {
    let (number, mut check) = (begun.number, begun);
    let mut said = Instant::now();
    while check.state == "running" {
        tokio::time::sleep(POLL).await;
        check = server.get("/ledger/check").await?;
        ensure!(
            check.number == number,
            "the server was started again, or another check took the place of this one"
        );
        if said.elapsed() >= SAY {
            output::progress(&format!("{} checked", count(check.lines, "line")));
            said = Instant::now();
        }
    }
    Ok(check)
}

fn whole(check: &LedgerCheck) -> String {
    let (signed, unsigned) = (check.checkpoints.unwrap_or(0), check.unsigned.unwrap_or(0));
    let mut text = format!(
        "{}: every line is in its place and linked.\n{} with valid signatures. Not signed yet: {}.\n",
        count(check.lines, "line"),
        count(signed, "checkpoint"),
        count(unsigned, "line"),
    );
    if let Some(kept) = check.kept.filter(|kept| *kept > 0) {
        text += &format!(
            "It agrees with {} kept elsewhere.\n",
            count(kept, "checkpoint")
        );
    }
    text + "The server checked its own files, and says so itself. `egret ledger prove SEQ --checkpoint FILE` \
            needs no trust in it.\n"
}

/// The names of the files with incomplete lines that were set aside after crashes.
fn set_aside(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut torn: Vec<String> = names.filter(|name| name.starts_with("torn-")).collect();
    torn.sort();
    torn
}

fn describe(found: &Verified, aside: &[String]) -> String {
    let Verified { report, key, .. } = found;
    let mut text = lines(report) + &checkpoints(report);
    match key {
        Some((key, KeySource::Given)) => text += &format!("Checked with the key given: {key}\n"),
        Some((key, KeySource::Beside)) => {
            text += &format!(
                "Checked with the key beside the ledger: {key}\nThat shows damage, and tampering by \
                 anyone who could not replace the key as well; give a key kept elsewhere with --public-key.\n"
            );
        }
        None => {}
    }
    for witnessed in &found.witnessed {
        text += &cosigned(witnessed, report.last);
    }
    if report.kept == 0 {
        text += "Lines that were cut off from the end show only against a checkpoint kept elsewhere (--checkpoint).\n";
    } else {
        text += &format!(
            "It agrees with {} kept elsewhere.\n",
            count(report.kept, "checkpoint")
        );
    }
    if report.unfinished > 0 {
        text += &format!(
            "A last line of {} is unfinished: it is being written, or a crash cut it off.\n",
            count(report.unfinished, "byte")
        );
    }
    for seq in &report.key_changes {
        text += &format!("Another key signs from line {seq} on, which names both.\n");
    }
    if report.damaged > 0 {
        text += &format!(
            "Damage that is known is named in {}.\n",
            count(report.damaged, "line")
        );
    }
    if report.clock_steps > 0 {
        text += &format!(
            "The clock was set back {}.\n",
            count(report.clock_steps, "time")
        );
    }
    if !aside.is_empty() {
        text += &format!(
            "Incomplete lines set aside after crashes: {}\n",
            aside.join(", ")
        );
    }
    text
}

fn cosigned(witnessed: &Witnessed, last: u64) -> String {
    let name = &witnessed.witness;
    match (witnessed.size, witnessed.time) {
        (Some(size), Some(time)) => format!(
            "{name} has cosigned {} at {time}; {} after that.\n",
            count(size, "line"),
            count(last.saturating_sub(size), "line")
        ),
        _ => format!("{name} has cosigned nothing.\n"),
    }
}

fn lines(report: &Report) -> String {
    let lines = match report.first {
        None => "No lines to check".to_owned(),
        Some(first) => format!(
            "{} ({first} to {})",
            count(report.lines, "line"),
            report.last
        ),
    };
    format!(
        "{lines} in {}: every line is in its place and linked.\n",
        count(report.files, "file")
    )
}

fn checkpoints(report: &Report) -> String {
    let Some(last) = &report.last_checkpoint else {
        return "This ledger is NOT SIGNED: it has no checkpoints. Its chain is intact, but anyone who can write the file can write another chain.\n".to_owned();
    };
    format!(
        "{} with valid signatures, {} compared with the lines. The last one covers {} and was \
         signed at {} ({}).\nNot signed yet: {} after it.\n",
        count(report.checkpoints, "checkpoint"),
        report.compared,
        count(last.size, "line"),
        last.time,
        last.cause,
        count(report.unsigned, "line")
    )
}
