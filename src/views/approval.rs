//! What owners are asked, and what they said.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::time::rfc3339;
use crate::vault::approval;

/// A question with its answer.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Approval {
    /// Its id.
    pub id: String,
    /// Who owns the credential.
    pub owner: String,
    /// The credential.
    pub slug: String,
    /// The client that asks.
    pub client: String,
    /// For whom it acts.
    pub principal: String,
    /// What for.
    pub action: String,
    /// Which execution of the action.
    pub run: Option<String>,
    /// The method.
    pub method: String,
    /// `https://api.example.com:443`.
    pub destination: String,
    /// The path, with placeholders.
    pub path: String,
    /// Where in the request the credential is named.
    pub places: Vec<String>,
    /// The body: its kind and its length.
    pub body: Option<String>,
    /// When it was asked.
    pub asked: String,
    /// Until when the question, or a yes for one request, is kept.
    pub until: String,
    /// `once`, `always` or `no`; nothing while it waits.
    pub answer: Option<Cow<'static, str>>,
    /// Who answered.
    pub answered_by: Option<String>,
}

impl Approval {
    /// The view of what is stored under an id.
    pub fn new(id: &str, approval: &approval::Approval) -> Self {
        let question = &approval.question;
        let answer = approval.answer.as_ref();
        Self {
            id: id.to_owned(),
            owner: approval.owner.to_string(),
            slug: approval.slug.to_string(),
            client: question.client.clone(),
            principal: question.principal.to_string(),
            action: question.action.clone(),
            run: question.run.clone(),
            method: question.method.clone(),
            destination: question.destination.clone(),
            path: question.path.clone(),
            places: question.places.clone(),
            body: question.body.clone(),
            asked: rfc3339(approval.asked),
            until: rfc3339(approval.until),
            answer: answer.map(|answer| answer.verdict.as_str().into()),
            answered_by: answer.map(|answer| answer.by.clone()),
        }
    }
}

/// A question or an answer that was removed.
#[derive(Debug, Serialize)]
pub struct ApprovalChange<'a> {
    /// Its id.
    pub id: &'a str,
}
