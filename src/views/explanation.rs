//! What would become of a request.

use serde::Serialize;

/// A request that was decided on and not sent.
#[derive(Serialize)]
pub struct ExplainedRequest<'a> {
    /// Where it would go.
    pub destination: String,
    /// Why it would be refused.
    pub refused: Option<ExplainedRefusal<'a>>,
    /// What would be replaced.
    pub uses: Vec<ExplainedUse<'a>>,
    /// Placeholders that would stay as they are.
    pub literal: Vec<String>,
}

/// Why a request would be refused.
#[derive(Serialize)]
pub struct ExplainedRefusal<'a> {
    /// The code.
    pub code: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// What would have to change.
    pub detail: &'a str,
    /// The slug concerned.
    pub slug: Option<&'a str>,
    /// The place concerned.
    pub location: Option<&'a str>,
}

/// A placeholder that would be replaced.
#[derive(Serialize)]
pub struct ExplainedUse<'a> {
    /// The placeholder.
    pub placeholder: String,
    /// Where it is.
    pub location: String,
    /// Whether `egret credential attach` put it there.
    pub attached: bool,
    /// How the value is written there.
    pub written: &'static str,
    /// Who owns the credential.
    pub owner: &'a str,
    /// Its own slug: in a bundle a request names it by another.
    pub slug: &'a str,
    /// Which version of its value.
    pub version: u32,
}
