//! Asks witnesses to sign the ledger's checkpoints, too (<https://c2sp.org/tlog-witness>).
//!
//! A witness remembers the last checkpoint that it has signed, and signs another only with a proof that
//! it continues that one. So nobody can change or cut off what it has seen without being noticed, the
//! operator of this machine included. All of it is on a thread of its own, for which no request waits.

mod answer;

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header;
use http_body_util::Full;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::answer::{Answer, MOST};
use super::endpoint::Endpoint;
use crate::config::Config;
use crate::files;
use crate::ledger::format::checkpoint::Checkpoint;
use crate::ledger::format::cosignature::WitnessKey;
use crate::ledger::format::note::Verifier;
use crate::ledger::layout::COSIGNED;
use crate::ledger::{Ledger, consistency, cosigned, verify};
use crate::proxy::outbound::way::Way;
use crate::{clock, tls};

/// How often it is looked for a checkpoint.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long lines are gathered until another checkpoint is sent.
const GATHER: Duration = Duration::from_secs(60);
/// How old a cosignature becomes while nothing happens, in seconds.
const RENEW: i64 = 3600;
/// How long a witness may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long after a failure it is asked again: twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often a witness may say that it remembers another size, in a row.
const CORRECTIONS: usize = 2;

/// Asks the witnesses that the configuration names, until `stop` is cancelled.
///
/// # Errors
/// When the roots cannot be read, or no thread can be started.
pub(super) fn start(
    config: &Config,
    ledger: &Ledger,
    way: &Way,
    stop: CancellationToken,
) -> Result<()> {
    let mut witnesses = Vec::new();
    for witness in &config.ledger.witnesses {
        witnesses.push(Witness {
            key: witness.key.clone(),
            endpoint: Endpoint {
                url: witness.url.clone(),
                tls: tls::client::config(&config.upstream.ca_files)?,
                way: way.clone(),
            },
            seen: None,
            asked: None,
            pause: None,
        });
    }
    if witnesses.is_empty() {
        return Ok(());
    }
    let asking = Asking {
        dir: config.ledger_dir(),
        ledger: ledger.clone(),
        witnesses,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        runtime.block_on(stop.run_until_cancelled(asking.run()));
    };
    thread::Builder::new()
        .name("egret-witness".to_owned())
        .spawn(run)?;
    Ok(())
}

struct Asking {
    dir: PathBuf,
    ledger: Ledger,
    witnesses: Vec<Witness>,
}

struct Witness {
    key: WitnessKey,
    endpoint: Endpoint,
    /// The last checkpoint that it has signed, and when.
    seen: Option<(Checkpoint, i64)>,
    asked: Option<Instant>,
    /// How long it is left alone after a failure.
    pause: Option<Duration>,
}

/// The checkpoint that is to be signed.
struct Latest {
    note: String,
    checkpoint: Checkpoint,
}

impl Asking {
    async fn run(mut self) {
        let mut is_failing = false;
        loop {
            match self.pass().await {
                Ok(()) => is_failing = false,
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, "the checkpoints of the ledger cannot be read to be cosigned");
                    }
                    is_failing = true;
                }
            }
            sleep(INTERVAL).await;
        }
    }

    async fn pass(&mut self) -> io::Result<()> {
        let Some(key) = verify::read_key(&self.dir).map_err(io::Error::other)? else {
            return Ok(());
        };
        let Some(latest) = self.latest(&key)? else {
            return Ok(());
        };
        for at in 0..self.witnesses.len() {
            self.recall(at, &key)?;
            if !self.witnesses[at].is_due(&latest.checkpoint) {
                continue;
            }
            let asked = self.ask(at, &latest).await;
            let name = self.witnesses[at].key.name().to_string();
            self.witnesses[at].asked = Some(Instant::now());
            if let Err(reason) = asked {
                self.ledger.witness_failed();
                let pause = &mut self.witnesses[at].pause;
                if pause.is_none() {
                    tracing::warn!(witness = %name, reason, "the checkpoint is not cosigned; it is tried again");
                }
                *pause = Some(pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE)));
            } else {
                self.witnesses[at].pause = None;
            }
        }
        let sizes = self.witnesses.iter().map(Witness::size);
        self.ledger.witnessed(sizes.min().unwrap_or(0));
        Ok(())
    }

    /// The last checkpoint, if it covers something.
    fn latest(&self, key: &Verifier) -> io::Result<Option<Latest>> {
        let Some(note) = cosigned::last_note(&self.dir)? else {
            return Ok(None);
        };
        let checkpoint = Checkpoint::open(&note, key).map_err(io::Error::other)?;
        Ok((checkpoint.size() > 0).then_some(Latest { note, checkpoint }))
    }

    /// Reads what a witness has signed before, unless that is known; not what it has signed of a ledger
    /// with another key.
    fn recall(&mut self, at: usize, key: &Verifier) -> io::Result<()> {
        let witness = &mut self.witnesses[at];
        if let Some((seen, _)) = &witness.seen {
            if seen.origin == *key.name() {
                return Ok(());
            }
            witness.seen = None;
        }
        let notes = cosigned::notes(&self.dir)?;
        // What is damaged is asked for again.
        let found = cosigned::find(&notes, key, &witness.key).unwrap_or_default();
        witness.seen = found.map(|found| (found.checkpoint, found.cosignature.time));
        Ok(())
    }

    async fn ask(&mut self, at: usize, latest: &Latest) -> Result<(), &'static str> {
        let mut before = self.witnesses[at].seen.clone().map(|(seen, _)| seen);
        for _ in 0..=CORRECTIONS {
            match self.send(at, before.as_ref(), latest).await? {
                Answer::Cosigned(note, cosignature) => {
                    self.keep(at, &note)
                        .map_err(|_| "the cosignature cannot be written")?;
                    self.witnesses[at].seen = Some((latest.checkpoint.clone(), cosignature.time));
                    return Ok(());
                }
                Answer::Remembers(size) if size > latest.checkpoint.size() => {
                    tracing::error!(
                        witness = %self.witnesses[at].key.name(),
                        seen = size,
                        there = latest.checkpoint.size(),
                        "the witness has signed more lines than the ledger has: lines were cut off, or a \
                         backup was put back"
                    );
                    return Err("it remembers a larger ledger");
                }
                Answer::Remembers(0) => before = None,
                Answer::Remembers(size) => {
                    // It was signed, and what came back was lost.
                    let found = consistency::checkpoint_of(&self.dir, size);
                    let found = found.map_err(|_| "the checkpoints cannot be read")?;
                    before =
                        Some(found.ok_or("it remembers a size that was never a checkpoint's")?);
                }
            }
        }
        Err("it remembers another size each time")
    }

    async fn send(
        &self,
        at: usize,
        before: Option<&Checkpoint>,
        latest: &Latest,
    ) -> Result<Answer, &'static str> {
        let mut body = format!("old {}\n", before.map_or(0, Checkpoint::size));
        if let Some(before) = before {
            let proof = consistency::prove(&self.dir, before, &latest.checkpoint);
            for hash in proof.map_err(|_| "it cannot be proven that the ledger has only grown")? {
                body += &format!("{}\n", BASE64_STANDARD.encode(hash.as_bytes()));
            }
        }
        body += &format!("\n{}", latest.note);
        let witness = &self.witnesses[at];
        let request = witness
            .endpoint
            .post()
            .header(header::CONTENT_TYPE, "text/plain; charset=utf-8")
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| "no request")?;
        let answer = timeout(PATIENCE, witness.endpoint.ask(request, MOST)).await;
        let answer = answer
            .map_err(|_| "it does not answer")?
            .map_err(|_| "it cannot be reached")?;
        Answer::read(&answer, &latest.note, &witness.key)
    }

    fn keep(&self, at: usize, note: &str) -> io::Result<()> {
        let notes = cosigned::notes(&self.dir)?;
        let text = cosigned::text_with(&notes, &self.witnesses[at].key, note);
        files::replace(&self.dir.join(COSIGNED), text.as_bytes(), files::PRIVATE)
    }
}

impl Witness {
    /// Lines that it has signed.
    fn size(&self) -> u64 {
        self.seen.as_ref().map_or(0, |(seen, _)| seen.size())
    }

    /// Whether it is to be asked about this checkpoint now.
    fn is_due(&self, latest: &Checkpoint) -> bool {
        let wait = self.pause.unwrap_or(GATHER);
        if self.asked.is_some_and(|asked| asked.elapsed() < wait) {
            return false;
        }
        let is_old = |(_, time): &(Checkpoint, i64)| clock::unix_seconds() - time >= RENEW;
        self.size() != latest.size() || self.seen.as_ref().is_some_and(is_old)
    }
}
