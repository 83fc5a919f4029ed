//! Sends the ledger to a collector, line by line and without a gap, while it is written.
//!
//! The lines are read off the files, on a thread of their own: no request and no writer ever waits for a
//! collector. What it has taken is remembered in a file, so that nothing is left out after an outage or a
//! restart of either side. The last batch before one may come twice, with the same numbers: together with
//! the name of the ledger, which every batch has, the number of a line tells a collector what it has.

mod cursor;
mod syslog;

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::Full;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::cursor::Cursor;
use super::endpoint::Endpoint;
use crate::config::{Config, ShipForm};
use crate::ledger::layout::PUBLIC_KEY;
use crate::ledger::lines_from::{LinesFrom, NumberedLine};
use crate::ledger::{Ledger, RecordRef, export};
use crate::proxy::outbound::way::Way;
use crate::tls;

/// How often it is asked whether there are new lines.
const INTERVAL: Duration = Duration::from_millis(500);
/// How long the collector may take for a batch.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long after a failure it is tried again: twice as long each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A batch has no more bytes of lines, but for its last line.
const BATCH: usize = 1024 * 1024;

/// Sends what the ledger holds, if the configuration says where, until `stop` is cancelled.
///
/// # Errors
/// When a file that it needs cannot be read, or no thread can be started.
pub(super) fn start(
    config: &Config,
    ledger: &Ledger,
    way: Way,
    stop: CancellationToken,
) -> Result<()> {
    let Some(target) = &config.ledger.ship else {
        return Ok(());
    };
    let dir = config.ledger_dir();
    let cursor = Cursor::open(&config.data_dir)?;
    let shipper = Shipper {
        endpoint: Endpoint {
            url: target.url.clone(),
            tls: tls::client::config(&config.upstream.ca_files)?,
            way,
        },
        token: target.token.as_deref().map(token).transpose()?,
        form: target.form,
        origin: origin(&dir),
        lines: LinesFrom::new(&dir, cursor.taken() + 1),
        ledger: ledger.clone(),
        cursor,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let run = move || {
        runtime.block_on(stop.run_until_cancelled(shipper.run()));
    };
    thread::Builder::new()
        .name("egret-ship".to_owned())
        .spawn(run)?;
    Ok(())
}

/// The token in a file, as a header has it.
fn token(path: &Path) -> Result<HeaderValue> {
    let read = std::fs::read_to_string(path);
    let text =
        read.with_context(|| format!("ledger.ship_token: cannot read {}", path.display()))?;
    let text = zeroize::Zeroizing::new(format!("Bearer {}", text.trim()));
    let mut value = HeaderValue::from_str(&text)
        .ok()
        .with_context(|| format!("ledger.ship_token: {} holds no token", path.display()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The name of the ledger and its key, as the public key begins.
fn origin(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join(PUBLIC_KEY)).unwrap_or_default();
    let parts: Vec<&str> = text.trim().split('+').take(2).collect();
    parts.join("+")
}

struct Shipper {
    endpoint: Endpoint,
    token: Option<HeaderValue>,
    form: ShipForm,
    origin: String,
    lines: LinesFrom,
    /// Says up to where lines are durable, and how many the collector has.
    ledger: Ledger,
    cursor: Cursor,
}

impl Shipper {
    async fn run(mut self) {
        self.ledger.shipped(self.cursor.taken());
        let mut is_failing = false;
        loop {
            let durable = self.ledger.stats().size;
            match self.lines.read(durable, BATCH) {
                Ok(lines) if lines.is_empty() => is_failing = false,
                Ok(lines) => {
                    self.deliver(&lines).await;
                    is_failing = false;
                    continue;
                }
                Err(error) => {
                    if !is_failing {
                        tracing::warn!(%error, "the ledger cannot be read to be sent on");
                    }
                    is_failing = true;
                }
            }
            sleep(INTERVAL).await;
        }
    }

    /// Sends a batch, again and again until it is taken.
    async fn deliver(&mut self, lines: &[NumberedLine]) {
        let mut pause = FIRST_PAUSE;
        let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
            return;
        };
        if first.seq > self.cursor.taken() + 1 {
            let (from, to) = (self.cursor.taken() + 1, first.seq - 1);
            tracing::error!(
                from,
                to,
                "lines of the ledger were dropped before they were sent on"
            );
        }
        while let Err(reason) = self.send(lines).await {
            self.ledger.ship_failed();
            if pause == FIRST_PAUSE {
                tracing::warn!(
                    reason,
                    "the collector does not take the ledger; it is sent again"
                );
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        if let Err(error) = self.cursor.advance(last.seq) {
            tracing::warn!(%error, "it cannot be noted what the collector has; it may get lines twice");
        }
        self.ledger.shipped(last.seq);
    }

    async fn send(&self, lines: &[NumberedLine]) -> Result<(), String> {
        let sent = timeout(PATIENCE, async {
            match self.form {
                ShipForm::Syslog => syslog::send(&self.endpoint, lines).await.map(|()| None),
                ShipForm::Jsonl | ShipForm::Ocsf => self.post(lines).await.map(Some),
            }
        });
        match sent.await {
            Ok(Ok(None)) => Ok(()),
            Ok(Ok(Some(status))) if status.is_success() => Ok(()),
            Ok(Ok(Some(status))) => Err(format!("it answered {}", status.as_u16())),
            Ok(Err(error)) => Err(format!("it cannot be reached: {}", error.kind())),
            Err(_) => Err("it does not answer".to_owned()),
        }
    }

    async fn post(&self, lines: &[NumberedLine]) -> io::Result<http::StatusCode> {
        let mut body = Vec::new();
        for line in lines {
            match self.form {
                ShipForm::Ocsf => {
                    let record = RecordRef::parse(&line.text).map_err(io::Error::other)?;
                    serde_json::to_writer(&mut body, &export::ocsf(&record))?;
                }
                ShipForm::Jsonl | ShipForm::Syslog => body.extend_from_slice(&line.text),
            }
            body.push(b'\n');
        }
        let seq = |line: Option<&NumberedLine>| line.map_or(0, |line| line.seq);
        let (first, last) = (seq(lines.first()), seq(lines.last()));
        let mut request = self
            .endpoint
            .post()
            .header(header::CONTENT_TYPE, "application/x-ndjson")
            .header("Egret-Ledger", &self.origin)
            .header("Egret-Ledger-Lines", format!("{first}-{last}"))
            .header("Idempotency-Key", format!("{}/{first}-{last}", self.origin));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Full::new(Bytes::from(body)));
        self.endpoint.send(request.map_err(io::Error::other)?).await
    }
}
