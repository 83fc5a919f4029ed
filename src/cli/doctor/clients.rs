//! Whether the clients on this machine get through: each sends a request through an Egret of its own to
//! an echo of this command's, with a made-up credential.
//!
//! A client *works* only if the value arrived at the echo. What is said of the others rests on what was
//! seen of their connections; where that says nothing, the client is *unknown*.

mod catalogue;
mod client;
mod outcome;
mod process;
mod relay;
mod stage;

use std::time::Duration;

use self::client::{Client, Proof};
use self::outcome::Arrived;
pub(super) use self::outcome::Outcome;
use self::process::{Ended, run_until};
use self::relay::Seen;
use self::stage::Stage;
use crate::cli::exit::usage;
use crate::cli::output::{self, Style};
use serde::Serialize;

/// A client, and what became of its request.
#[derive(Debug, Serialize)]
pub(super) struct Tried {
    pub(super) client: &'static str,
    pub(super) outcome: Outcome,
    /// What was seen.
    pub(super) detail: String,
    /// What corrects it.
    pub(super) remedy: Option<String>,
}

impl Tried {
    /// A line for people, and a second one with what corrects it.
    pub(super) fn line(&self, style: Style) -> String {
        let outcome = format!("{:22}", self.outcome.text());
        let outcome = match self.outcome {
            Outcome::Works => style.green(&outcome),
            Outcome::SpeaksNoHttp | Outcome::Unknown => style.dim(&outcome),
            _ => style.yellow(&outcome),
        };
        let mut text = format!("{:25}  {outcome}  {}\n", self.client, self.detail);
        if let Some(remedy) = &self.remedy {
            text += &format!("{:51}→ {remedy}\n", "");
        }
        text
    }
}

/// What helps in a filtered environment.
const WRAPPED: &str =
    "have the MCP host start it with `egret run`, as `egret env --format mcp -- COMMAND` prints";

/// Tries the clients of these names, or all that are found here, one after the other.
///
/// # Errors
/// When a name is none, or the server of this command cannot start.
pub(super) async fn try_all(
    names: &[String],
    patience: Duration,
    is_filtered: bool,
) -> anyhow::Result<Vec<Tried>> {
    let unknown = names.iter().find(|name| catalogue::find(name).is_none());
    if let Some(name) = unknown {
        let known: Vec<_> = catalogue::all().map(|client| client.name).collect();
        let (name, known) = (output::printable(name), known.join(", "));
        return Err(usage(format!(
            "no client {name} is known; these are: {known}"
        )));
    }
    let is_asked = |client: &&Client| names.is_empty() || names.iter().any(|n| n == client.name);
    let mut tried = Vec::new();
    let stage = Stage::set(is_filtered).await?;
    for client in catalogue::all().filter(is_asked) {
        if !stage.has(client).await {
            if !names.is_empty() {
                tried.push(Tried {
                    client: client.name,
                    outcome: Outcome::Unknown,
                    detail: "it is not on this machine".to_owned(),
                    remedy: None,
                });
            }
            continue;
        }
        if client.proof == Proof::None {
            tried.push(untried(client));
            continue;
        }
        output::progress(&format!("trying {}", client.name));
        tried.push(try_one(&stage, client, patience).await);
    }
    stage.strike().await;
    Ok(tried)
}

/// A client for which there is nothing to try.
fn untried(client: &Client) -> Tried {
    let outcome = Outcome::SpeaksNoHttp;
    Tried {
        client: client.name,
        outcome,
        detail: "a proxy for HTTP can do nothing for it".to_owned(),
        remedy: client.remedy(outcome).map(str::to_owned),
    }
}

async fn try_one(stage: &Stage, client: &'static Client, patience: Duration) -> Tried {
    let command = stage.command(client);
    let ended = run_until(command, patience, stage.proved(client)).await;
    let seen = stage.relay().take();
    let arrived = stage.take(client);
    let (mut outcome, mut detail) = judge(client, ended, seen, arrived);
    // A program that cannot run at all sends nothing to the proxy either: a launcher without what it
    // launches ends as a client does that found no host.
    if outcome == Outcome::GoesRoundTheProxy && !stage.runs(client).await {
        let version = client.version().join(" ");
        outcome = Outcome::Unknown;
        detail = format!("`{} {version}` fails too", client.program);
    }
    let remedy = match outcome {
        Outcome::Works => None,
        Outcome::GoesRoundTheProxy if stage.is_filtered() => Some(WRAPPED.to_owned()),
        _ => client.remedy(outcome).map(str::to_owned),
    };
    Tried {
        client: client.name,
        outcome,
        detail,
        remedy,
    }
}

fn judge(client: &Client, ended: Ended, seen: Seen, arrived: Arrived) -> (Outcome, String) {
    let is_enough = client.proof == Proof::Request && arrived == Arrived::Request;
    if arrived == Arrived::Value || is_enough {
        return (Outcome::Works, "the echo got the request".to_owned());
    }
    if arrived == Arrived::Request {
        let detail = "the echo got the request, without the value".to_owned();
        return (Outcome::AltersThePlaceholder, detail);
    }
    match ended {
        Ended::NotStarted => (Outcome::Unknown, "it could not be started".to_owned()),
        Ended::TooLate => (Outcome::Unknown, "it did not end in time".to_owned()),
        Ended::With(_) if seen.trusts => {
            let detail = "it trusts the CA, and no request of it arrived".to_owned();
            (Outcome::Unknown, detail)
        }
        Ended::With(_) if seen.began_tls => {
            let detail = "it began TLS through the proxy, and sent no request".to_owned();
            (Outcome::DoesNotTrustTheCa, detail)
        }
        Ended::With(_) if seen.connected => {
            let detail = "it connected to the proxy, and sent no request".to_owned();
            (Outcome::Unknown, detail)
        }
        // Shells say 126 and 127 of a program that they cannot run.
        Ended::With(Some(126 | 127) | None) => (
            Outcome::Unknown,
            "it ended before it did anything".to_owned(),
        ),
        Ended::With(_) => {
            let detail = "it ended, and nothing had come to the proxy".to_owned();
            (Outcome::GoesRoundTheProxy, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(ended: Ended, connected: bool, began_tls: bool, arrived: Arrived) -> Outcome {
        let client = catalogue::find("curl").expect("known");
        let seen = Seen {
            connected,
            began_tls,
            trusts: false,
        };
        judge(client, ended, seen, arrived).0
    }

    #[test]
    fn works_needs_the_value_at_the_echo() {
        let ok = Ended::With(Some(0));
        assert_eq!(outcome(ok, true, true, Arrived::Value), Outcome::Works);
        assert_eq!(
            outcome(ok, true, true, Arrived::Request),
            Outcome::AltersThePlaceholder
        );
        assert_eq!(
            outcome(ok, true, true, Arrived::Nothing),
            Outcome::DoesNotTrustTheCa
        );
        assert_eq!(outcome(ok, true, false, Arrived::Nothing), Outcome::Unknown);
        assert_eq!(
            outcome(ok, false, false, Arrived::Nothing),
            Outcome::GoesRoundTheProxy
        );
        for ended in [
            Ended::TooLate,
            Ended::NotStarted,
            Ended::With(Some(127)),
            Ended::With(None),
        ] {
            assert_eq!(
                outcome(ended, false, false, Arrived::Nothing),
                Outcome::Unknown
            );
        }
    }

    #[test]
    fn a_client_that_went_on_after_the_certificate_does_not_distrust_it() {
        let curl = catalogue::find("curl").expect("known");
        let seen = Seen {
            connected: true,
            began_tls: true,
            trusts: true,
        };
        let judged = judge(curl, Ended::With(Some(22)), seen, Arrived::Nothing);
        assert_eq!(judged.0, Outcome::Unknown);
    }

    #[test]
    fn a_client_without_a_place_for_a_key_works_when_its_request_arrives() {
        let cargo = catalogue::find("cargo").expect("known");
        let seen = Seen::default();
        let judged = judge(cargo, Ended::With(Some(101)), seen, Arrived::Request);
        assert_eq!(judged.0, Outcome::Works);
    }
}
