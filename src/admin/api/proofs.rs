//! Evidence for someone else: that a line is in the ledger, and what the ledger was when.

use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::answer::Answer;
use super::asked::Asked;
use super::ledger::LineSearch;
use super::request::{Names, Search, named};
use crate::admin::context::AdminContext;
use crate::admin::problem::{AdminProblem, Trouble};
use crate::ledger::RecordRef;
use crate::ledger::proof::ProveError;
use crate::ledger::window::{From, Lines, Window};
use crate::vault::access::Scope;
use crate::views;

/// Longest checkpoint, in bytes.
const LONGEST_NOTE: usize = 16 * 1024;

pub(super) fn router() -> OpenApiRouter<AdminContext> {
    OpenApiRouter::new()
        .routes(routes!(get_checkpoint))
        .routes(routes!(get_proof))
}

/// Show the latest checkpoint
///
/// The size and the root hash of the whole ledger, signed. With one kept elsewhere everyone can check
/// later that nothing up to it was changed or cut off: `egret ledger verify --checkpoint FILE`.
#[utoipa::path(get, path = "/ledger/checkpoint", tag = "usage",
    responses((status = OK, body = views::SignedCheckpoint)))]
async fn get_checkpoint(asked: Asked) -> Result<Answer, AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    let latest = asked.context.services().checkpoint().await?;
    let latest = latest.ok_or_else(|| AdminProblem::new(Trouble::NotFound))?;
    Ok(Answer::ok(&views::SignedCheckpoint::new(&latest)))
}

/// Which line.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct LinePath {
    /// Its sequence number.
    #[param(pattern = "^[1-9][0-9]{0,17}$")]
    seq: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ProofSearch {
    /// A checkpoint that was kept elsewhere, to prove the line under; by default the first one that covers
    /// it.
    checkpoint: Option<String>,
}

/// Prove that a line is in the ledger
///
/// The line, its place, the path from there to the root, and the signed checkpoint, which `egret ledger
/// verify-proof` checks with the public key alone. For those who may see the line.
#[utoipa::path(get, path = "/ledger/{seq}/proof", tag = "usage", params(LinePath, ProofSearch),
    responses((status = OK, body = views::LedgerProof), (status = CONFLICT)))]
async fn get_proof(
    asked: Asked,
    Names(path): Names<LinePath>,
    Search(search): Search<ProofSearch>,
) -> Result<Answer, AdminProblem> {
    asked.caller.demand(Scope::Audit)?;
    let seq: u64 = named(&path.seq)?;
    let kept = search.checkpoint;
    if kept.as_ref().is_some_and(|note| note.len() > LONGEST_NOTE) {
        return Err(not_of_this_ledger());
    }
    let is_kept = kept.is_some();
    let window = LineSearch::default().window(&asked)?;
    let proof = match asked.context.services().prove(seq, kept).await? {
        // Whether the line is there, and the caller's, is not said by this either.
        Err(error @ ProveError::NotCovered { .. }) => {
            let is_seen = is_seen(&asked, window, seq).await?;
            return Err(if is_seen {
                not_proven(&error, is_kept)
            } else {
                AdminProblem::new(Trouble::NotFound)
            });
        }
        proof => proof.map_err(|error| not_proven(&error, is_kept))?,
    };
    let line = RecordRef::parse(proof.line.as_bytes());
    if !line.is_ok_and(|line| window.wants(&line)) {
        return Err(AdminProblem::new(Trouble::NotFound));
    }
    let text = proof.to_string();
    Ok(Answer::ok(&views::LedgerProof::new(&proof, &text)))
}

/// Whether the line is there and among those of the window.
async fn is_seen(asked: &Asked, window: Window, seq: u64) -> Result<bool, AdminProblem> {
    let next = Window {
        from: From::After(seq.saturating_sub(1)),
        limit: 1,
        ..window
    };
    let Lines { records, .. } = asked.context.services().lines(next).await?;
    Ok(records.first().is_some_and(|line| line.seq == seq))
}

fn not_of_this_ledger() -> AdminProblem {
    AdminProblem::field("checkpoint", "it is no checkpoint of this ledger")
}

/// Why a line cannot be proven. What is wrong with the ledger itself is for its operator.
fn not_proven(error: &ProveError, is_kept: bool) -> AdminProblem {
    match error {
        ProveError::NotThere { .. } | ProveError::NotSigned => AdminProblem::new(Trouble::NotFound),
        ProveError::NotCovered { .. } => AdminProblem::because(
            Trouble::Conflict,
            "No checkpoint covers the line yet; one is written within seconds of a line.",
        )
        .retry_after(5),
        error if is_kept && error.is_about_the_checkpoint() => not_of_this_ledger(),
        error => {
            tracing::error!(%error, "a line of the ledger cannot be proven");
            AdminProblem::because(
                Trouble::LedgerUnavailable,
                "The reason is in Egret's log, for its operator.",
            )
        }
    }
}
