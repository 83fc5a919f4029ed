//! `egret health --deep`: one request with a value of its own, through everything that a request of a
//! program goes through.
//!
//! A process that replaces nothing answers probes as well as one that does. So a credential is made for
//! this, sent to an upstream within the server, and it is looked at what arrived there, what came back,
//! and what the ledger says.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::app::reachable;
use crate::cli::context::{Context, Session, actor};
use crate::cli::output::{self, Format};
use crate::cli::own_client::OwnClient;
use crate::cli::{server, when};
use crate::ledger::format::timestamp::Timestamp;
use crate::ledger::history::History;
use crate::ledger::lines::{Next, RawLines};
use crate::ledger::{RecordRef, event};
use crate::policy::grant::Grant;
use crate::proxy::exchange::canary::{ARRIVED, ECHO, FIELD, HOST};
use crate::secret::SecretBytes;
use crate::substitution::slug::Slug;
use crate::vault::{Kind, NewCredential, Principal};
use crate::views::{DeepCheck, DeepHealth};

/// Who owns the credential, and what it is called. It is there while it is used.
const OWNER: &str = "egret-health";
const SLUG: &str = "egret-canary";
/// What the ledger calls the request.
const ACTION: &str = "health-check";
/// How long client and credential work if the command is killed, in seconds.
const LIFE: i64 = 120;
/// How long the exchange may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long its lines in the ledger may take.
const RECORD: Duration = Duration::from_secs(10);
/// The longest answer that is read, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Sends the request and says what came of it.
pub(super) async fn run(context: &Context, format: Format) -> anyhow::Result<ExitCode> {
    let session = context.open().await?;
    let Some(file) = server::live(&session.config.data_dir) else {
        session.store.close().await;
        bail!("no server runs on {}", session.config.data_dir.display());
    };
    let value = random_value()?;
    let begun = Timestamp::from_unix_micros(crate::clock::unix_micros());
    let outcome = send(&session, reachable(file.proxy), &value).await;
    let removed = remove(&session).await;
    let checks = match &outcome {
        Ok(answer) => {
            let mut checks = answer.checks(&value);
            let ledger = session.config.ledger_dir();
            checks.push(recorded(&ledger, begun).await);
            checks
        }
        Err(error) => vec![check("request", Err(format!("{error:#}")))],
    };
    session.finish().await?;
    removed?;
    let view = DeepHealth {
        healthy: checks.iter().all(|check| check.passed),
        checks,
    };
    output::data(format, &view, || text(&view))?;
    Ok(if view.healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn text(view: &DeepHealth) -> String {
    let line = |check: &DeepCheck| {
        let word = if check.passed { "ok" } else { "FAILED" };
        format!("{word:6} {:9} {}\n", check.name, check.detail)
    };
    view.checks.iter().map(line).collect()
}

fn check(name: &'static str, result: Result<&str, String>) -> DeepCheck {
    let passed = result.is_ok();
    let detail = match result {
        Ok(detail) => detail.to_owned(),
        Err(detail) => output::printable(&detail),
    };
    DeepCheck {
        name,
        passed,
        detail,
    }
}

/// 128 random bits as hexadecimal digits.
fn random_value() -> anyhow::Result<Zeroizing<String>> {
    let mut random = [0; 16];
    aws_lc_rs::rand::fill(&mut random)
        .ok()
        .context("no randomness")?;
    let digits = random.iter().map(|byte| format!("{byte:02x}"));
    Ok(Zeroizing::new(digits.collect()))
}

fn names() -> anyhow::Result<(Principal, Slug)> {
    Ok((Principal::parse(OWNER)?, Slug::parse(SLUG)?))
}

/// Makes credential and client, and sends the request.
async fn send(session: &Session, proxy: SocketAddr, value: &str) -> anyhow::Result<Answer> {
    // What a check left that was killed.
    remove(session).await?;
    let (owner, slug) = names()?;
    let mut grant = Grant::for_hosts(vec![format!("http://{HOST}").parse()?]);
    grant.expires = Some(when::now() + LIFE);
    let new = NewCredential {
        owner: owner.clone(),
        slug,
        kind: Kind::Secret,
        description: "made by `egret health --deep` for one request".to_owned(),
        grant,
        rotate_every: None,
    };
    let secret = SecretBytes::new(value.as_bytes().to_vec());
    session.registrar.add(&actor(), new, secret).await?;
    let expires = Some(when::now() + LIFE);
    let client = OwnClient::add(&session.store, "health-", &owner, expires).await?;
    let token = client.token();
    let answer = tokio::time::timeout(DEADLINE, exchange(proxy, &token)).await;
    session
        .registrar
        .remove_client(&actor(), &client.name)
        .await?;
    answer.unwrap_or_else(|_| bail!("there was no answer in {} s", DEADLINE.as_secs()))
}

async fn remove(session: &Session) -> anyhow::Result<()> {
    let (owner, slug) = names()?;
    if session.store.get(&owner, &slug).await?.is_some() {
        session.registrar.delete(&actor(), &owner, &slug).await?;
    }
    Ok(())
}

async fn exchange(proxy: SocketAddr, token: &str) -> anyhow::Result<Answer> {
    let credentials = Zeroizing::new(STANDARD.encode(format!("{ACTION}:{token}")));
    let request = Zeroizing::new(format!(
        "GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: Basic {}\r\n\
         {FIELD}: <<{SLUG}>>\r\nConnection: close\r\n\r\n",
        credentials.as_str()
    ));
    let mut stream = TcpStream::connect(proxy).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Answer::parse(&answer).context("the answer is not HTTP/1.1")
}

/// What came back.
struct Answer {
    status: String,
    /// Egret's own code, if it refused the request.
    code: Option<String>,
    body: String,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.lines();
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
        let mut fields = lines.filter_map(|line| line.split_once(": "));
        let code = fields.find(|(name, _)| name.eq_ignore_ascii_case("egret-error"));
        Some(Self {
            status: status.to_owned(),
            code: code.map(|(_, code)| code.to_owned()),
            body: body.to_owned(),
        })
    }

    fn checks(&self, value: &str) -> Vec<DeepCheck> {
        let request = match &self.code {
            None if self.status == "200" => Ok("sent and answered"),
            None => Err(format!("answered with status {}", self.status)),
            Some(code) => Err(format!("refused: {code}")),
        };
        let after = |start: &str| self.body.lines().find_map(|line| line.strip_prefix(start));
        let digest = digest(&SHA256, value.as_bytes());
        let digits = digest.as_ref().iter().map(|byte| format!("{byte:02x}"));
        let arrived = match after(ARRIVED) {
            Some(found) if found == digits.collect::<String>() => Ok("the upstream got the value"),
            Some(_) => Err("the upstream got something else than the value".to_owned()),
            None => Err("the upstream did not say what it got".to_owned()),
        };
        let scrubbed = match after(ECHO) {
            Some(_) if self.body.contains(value) => {
                Err("the value came back in the answer".to_owned())
            }
            Some("") | None => Err("the upstream did not repeat the value".to_owned()),
            Some(_) => Ok("the value was taken out of the answer"),
        };
        vec![
            check("request", request),
            check("value", arrived),
            check("answer", scrubbed),
        ]
    }
}

/// Whether use and result are on record.
async fn recorded(ledger: &Path, begun: Timestamp) -> DeepCheck {
    let start = Instant::now();
    loop {
        match find(ledger, begun) {
            Ok(true) => return check("ledger", Ok("use and result are on record")),
            Ok(false) if start.elapsed() < RECORD => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(false) => {
                return check("ledger", Err("the use is not on record".to_owned()));
            }
            Err(error) => return check("ledger", Err(error.to_string())),
        }
    }
}

fn find(ledger: &Path, begun: Timestamp) -> std::io::Result<bool> {
    let history = History::open(ledger)?;
    let mut request = None;
    for part in history.since(begun) {
        let mut lines = RawLines::new(part.open()?);
        while let Next::Line(bytes) = lines.next_line()? {
            let Ok(line) = RecordRef::parse(bytes) else {
                continue;
            };
            if line
                .time
                .parse::<Timestamp>()
                .is_ok_and(|time| time < begun)
            {
                continue;
            }
            let id = line.request.as_deref().map(str::to_owned);
            if line.event == event::USE && line.slug.as_deref() == Some(SLUG) {
                request = id;
            } else if line.event == event::RESULT && request.is_some() && id == request {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(answer: &str, value: &str) -> Vec<&'static str> {
        let answer = Answer::parse(answer.as_bytes()).expect("an answer");
        let checks = answer.checks(value).into_iter();
        checks
            .filter(|check| !check.passed)
            .map(|check| check.name)
            .collect()
    }

    #[test]
    fn each_way_to_fail_is_named() {
        let (value, head) = ("0123456789abcdef", "HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
        let digest = digest(&SHA256, value.as_bytes());
        let digits: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
        let arrived = format!("{head}{ARRIVED}{digits}\n");
        assert!(failed(&format!("{arrived}{ECHO}<<egret-canary>>\n"), value).is_empty());
        assert_eq!(
            failed(&format!("{arrived}{ECHO}{value}\n"), value),
            ["answer"]
        );
        assert_eq!(failed(&format!("{arrived}{ECHO}\n"), value), ["answer"]);
        let bare = format!("{head}{ARRIVED}00\n{ECHO}<<egret-canary>>\n");
        assert_eq!(failed(&bare, value), ["value"]);
        let refused = "HTTP/1.1 424 Failed Dependency\r\nEgret-Error: x\r\n\r\n{}";
        assert_eq!(failed(refused, value), ["request", "value", "answer"]);
    }
}
