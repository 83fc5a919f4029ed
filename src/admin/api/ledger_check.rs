//! The check of the whole ledger, which takes its time: it is begun, and asked for.

use std::str::FromStr;

use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::Asked;
use super::fields::{Input, Wrong};
use super::inputs::Time;
use super::request::{Json, message};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::ledger::Timestamp;
use crate::ledger::format::note::Verifier;
use crate::ledger::verify::Ask;
use crate::vault::access::Scope;
use crate::views;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new().routes(routes!(get_ledger_check, check_ledger))
}

/// The public key of a ledger.
pub(super) struct LedgerKey(Verifier);

impl Input for LedgerKey {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let key = Verifier::from_str(text.trim_end());
        key.map(Self)
            .map_err(|_| Wrong::new("it is no public key of a ledger"))
    }
}

message! {
    /// What is checked. Without anything it is the whole ledger, with the key that lies beside it.
    LedgerCheckInput {
        /// The ledger's public key, kept elsewhere.
        public_key: Option<LedgerKey> as Option<String>,
        /// Checkpoints, kept elsewhere, with which the ledger must still agree.
        checkpoints: Vec<String> as Option<Vec<String>>,
        /// Begin at the last checkpoint before this time.
        since: Option<Time> as Option<String>,
        /// Begin at this rotated file.
        from: Option<String> as Option<String>,
        /// Damage that these lines name is known and does not fail the check.
        known_damage: Vec<u64> as Option<Vec<u64>>,
    }
}

impl LedgerCheckInput {
    fn into_ask(self) -> Ask {
        let since = self.since.map(|since| since.0.saturating_mul(1_000_000));
        Ask {
            key: self.public_key.map(|key| key.0),
            since: since.map(Timestamp::from_unix_micros),
            from: self.from,
            kept: self.checkpoints,
            known_damage: self.known_damage,
            ..Ask::default()
        }
    }
}

/// It reads every line, so it is for those who see every line.
fn demand(asked: &Asked) -> Result<(), AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    if asked.sight.sees_all() {
        return Ok(());
    }
    Err(AdminProblem::because(
        Trouble::Forbidden,
        "Administrators and auditors check the ledger: it has lines about everybody.",
    ))
}

fn show(asked: &Asked) -> Answer {
    let (number, latest) = asked.context.services().check.numbered();
    Answer::ok(&views::LedgerCheck::new(number, &latest))
}

/// Show the check of the ledger that runs, or the last one
///
/// For administrators and auditors.
#[utoipa::path(get, path = "/ledger/check", tag = "usage",
    responses((status = OK, body = views::LedgerCheck)))]
async fn get_ledger_check(asked: Asked) -> Result<Answer, AdminProblem> {
    demand(&asked)?;
    Ok(show(&asked))
}

/// Begin to check every line of the ledger
///
/// For administrators and auditors. One check runs at a time. What the server says of its own files is as
/// good as the server: a proof under a checkpoint that was kept elsewhere needs no trust in it.
#[utoipa::path(post, path = "/ledger/check", tag = "usage", request_body = LedgerCheckInput,
    responses((status = OK, body = views::LedgerCheck)))]
async fn check_ledger(
    asked: Asked,
    Json(input): Json<LedgerCheckInput>,
) -> Result<Answer, AdminProblem> {
    demand(&asked)?;
    let begun = asked.context.services().begin_check(input.into_ask())?;
    if begun.is_none() {
        let detail = "A check runs already. Ask for it, or wait for its end.";
        return Err(AdminProblem::because(Trouble::Conflict, detail).retry_after(5));
    }
    Ok(show(&asked))
}
