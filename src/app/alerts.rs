//! Alerts: lines of the ledger that are sent to a webhook.
//!
//! They are read off the ledger, on a thread of their own, so that no request ever waits for a webhook,
//! and nothing is alerted that is not on record. A webhook that is down is tried again for a while; what
//! it has missed then is still in the ledger.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::endpoint::Endpoint;
use crate::clock::unix_seconds;
use crate::config::{self, Config, FIRST_USE};
use crate::ledger::CURRENT;
use crate::ledger::reader::{FileLines, Follower, Line};
use crate::proxy::outbound::way::Way;
use crate::tls;

/// How often the ledger is looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the webhook may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long after a failure it is tried again, one after the other.
const AGAIN: [Duration; 4] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(120),
];

/// Where alerts go, and how they are signed.
struct Webhook {
    endpoint: Endpoint,
    secret: Option<hmac::Key>,
    events: Vec<String>,
}

/// Sends alerts, if the configuration says where, until `stop` is cancelled.
///
/// # Errors
/// When the secret or the roots cannot be read, or no thread can be started.
pub(super) fn start(config: &Config, way: Way, stop: CancellationToken) -> Result<()> {
    let Some(url) = &config.alerts.url else {
        return Ok(());
    };
    let webhook = Webhook {
        secret: secret(&config.alerts)?,
        events: config.alerts.events.clone(),
        endpoint: Endpoint {
            url: url.clone(),
            tls: tls::client::config(&config.upstream.ca_files)?,
            way,
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let path = config.ledger_dir().join(CURRENT);
    let run = move || {
        let follower = follow(&path);
        runtime.block_on(stop.run_until_cancelled(webhook.run(follower)));
    };
    thread::Builder::new()
        .name("egret-alerts".to_owned())
        .spawn(run)?;
    Ok(())
}

fn secret(config: &config::Alerts) -> Result<Option<hmac::Key>> {
    let Some(path) = &config.secret else {
        return Ok(None);
    };
    let read = std::fs::read(path);
    let secret = read.with_context(|| format!("alerts.secret: cannot read {}", path.display()))?;
    let secret = secret.trim_ascii();
    if secret.is_empty() {
        bail!("alerts.secret: {} is empty", path.display());
    }
    Ok(Some(hmac::Key::new(hmac::HMAC_SHA256, secret)))
}

/// The lines that come from now on.
fn follow(path: &Path) -> Follower {
    match FileLines::open(path) {
        Ok(mut lines) => {
            lines.by_ref().for_each(drop);
            Follower::after(lines)
        }
        Err(_) => Follower::from_start(path),
    }
}

impl Webhook {
    async fn run(self, mut follower: Follower) {
        loop {
            let new = follower.poll().into_iter().flatten();
            for line in new.filter(|line| self.is_wanted(line)) {
                self.deliver(&line).await;
            }
            sleep(INTERVAL).await;
        }
    }

    fn is_wanted(&self, line: &Line) -> bool {
        let entry = &line.record.entry;
        let is_first = entry.first.is_some();
        let mut events = self.events.iter();
        events.any(|wanted| *wanted == *entry.event || (is_first && wanted == FIRST_USE))
    }

    /// Sends one alert, and again if it was not taken.
    async fn deliver(&self, line: &Line) {
        let id = format!("egret-{}", line.record.seq);
        let mut again = AGAIN.into_iter();
        loop {
            let sent = timeout(PATIENCE, self.send(&id, line.text.as_bytes())).await;
            let reason = match sent {
                Ok(Ok(status)) if status.is_success() => return,
                Ok(Ok(status)) => format!("it answered {}", status.as_u16()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it does not answer".to_owned(),
            };
            let Some(wait) = again.next() else {
                tracing::error!(id, reason, "an alert was given up; it is in the ledger");
                return;
            };
            tracing::warn!(id, reason, "an alert was not taken; it is sent again");
            sleep(wait).await;
        }
    }

    async fn send(&self, id: &str, body: &[u8]) -> io::Result<StatusCode> {
        self.endpoint.send(self.request(id, body)?).await
    }

    /// The request, signed as <https://www.standardwebhooks.com> describes.
    fn request(&self, id: &str, body: &[u8]) -> io::Result<Request<Full<Bytes>>> {
        let timestamp = unix_seconds().to_string();
        let mut request = self
            .endpoint
            .post()
            .header(header::CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", &timestamp);
        if let Some(secret) = &self.secret {
            let signed = [id.as_bytes(), timestamp.as_bytes(), body].join(&b'.');
            let tag = STANDARD.encode(hmac::sign(secret, &signed));
            request = request.header("webhook-signature", format!("v1,{tag}"));
        }
        let body = Full::new(Bytes::copy_from_slice(body));
        request.body(body).map_err(io::Error::other)
    }
}
