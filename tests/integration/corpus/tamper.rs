//! Tampering with a ledger after a case was played; `egret ledger verify` has to detect it.

use std::path::{Path, PathBuf};

use crate::eventually;
use crate::ledger_read::copy_ledger;
use crate::world::World;

use super::case::Case;

/// Tampers with a copy of the ledger as the case says. Returns a problem if that is not detected.
pub async fn tamper(world: &World, case: &Case) -> Vec<String> {
    let untouched = copy_ledger(world, "untouched");
    if let Err(why) = verify(world, &untouched, None).await {
        return vec![format!("the untouched ledger does not verify: {why}")];
    }
    let copy = copy_ledger(world, "tampered");
    let path = copy.join("ledger/current.jsonl");
    let bytes = std::fs::read(&path).expect("the copy");
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|b| *b == b'\n').collect();
    if lines.len() < 3 {
        return vec!["the ledger is too short to tamper with".into()];
    }
    let middle = lines.len() / 2;
    let mut kept = None;
    match (case.fault.as_deref(), case.after.as_deref()) {
        (Some("tamper: remove one record in the middle"), Some("ledger-verify must fail")) => {
            lines.remove(middle);
        }
        (Some("tamper: swap two records"), Some("ledger-verify must fail")) => {
            lines.swap(middle - 1, middle);
        }
        (
            Some("tamper: restore yesterday's whole file"),
            Some("ledger-verify against an externally kept head must fail"),
        ) => {
            kept = Some(keep_head(world, lines.len()).await);
            lines.truncate(middle);
            restore_checkpoints(&copy, middle);
            // A shorter ledger with its own checkpoints is valid: nothing in it shows what is
            // missing.
            std::fs::write(&path, lines.concat()).expect("write the copy");
            if let Err(why) = verify(world, &copy, None).await {
                return vec![format!(
                    "yesterday's ledger does not verify by itself: {why}"
                )];
            }
        }
        other => return vec![format!("an unknown fault {other:?}")],
    }
    std::fs::write(&path, lines.concat()).expect("write the copy");
    match verify(world, &copy, kept.as_deref()).await {
        Ok(()) => vec!["a tampered ledger verifies".into()],
        Err(why) if !why.contains("does not verify") => vec![format!("another failure: {why}")],
        Err(_) => Vec::new(),
    }
}

/// Runs `egret ledger verify`. When it fails, which must be with exit status 1, returns its
/// message.
async fn verify(world: &World, data: &Path, kept: Option<&Path>) -> Result<(), String> {
    let data = data.to_str().expect("a path");
    let mut args = vec!["ledger", "verify", "--data-dir", data];
    if let Some(kept) = kept {
        args.extend(["--checkpoint", kept.to_str().expect("a path")]);
    }
    let output = world.run(&args).await;
    match output.status.code() {
        Some(0) => Ok(()),
        Some(1) => Err(output.stderr),
        other => panic!("exit status {other:?}: {}", output.stderr),
    }
}

/// Keeps a checkpoint of at least this many lines outside the data directory.
async fn keep_head(world: &World, lines: usize) -> PathBuf {
    let checkpoints = world.data.join("ledger/checkpoints");
    eventually("a checkpoint of all lines", || {
        let text = std::fs::read_to_string(&checkpoints).ok()?;
        let last = text.trim_end().rsplit("\n\n").nth(1)?;
        let size: usize = last.lines().nth(1)?.parse().ok()?;
        (size >= lines).then_some(())
    })
    .await;
    let note = world.run(&["ledger", "checkpoint"]).await.ok();
    let path = world.scratch().join("kept.note");
    std::fs::write(&path, note).expect("keep the checkpoint");
    path
}

/// Keeps only the checkpoints of the time when the ledger had this many lines.
fn restore_checkpoints(copy: &Path, lines: usize) {
    let path = copy.join("ledger/checkpoints");
    let text = std::fs::read_to_string(&path).expect("checkpoints");
    let parts: Vec<&str> = text.split_terminator("\n\n").collect();
    let mut earlier = String::new();
    for note in parts.chunks(2) {
        let size: usize = note[0]
            .lines()
            .nth(1)
            .expect("a size")
            .parse()
            .expect("a size");
        if size <= lines {
            earlier += &format!("{}\n\n{}\n\n", note[0], note[1]);
        }
    }
    std::fs::write(path, earlier).expect("write checkpoints");
}
