//! Credentials that are asked for.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::time::rfc3339;
use crate::vault::key_request;

/// A credential that a client asks for.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeyRequest {
    /// Its number.
    pub number: i64,
    /// Who would own it.
    pub owner: String,
    /// The slug.
    pub slug: String,
    /// Where it is needed.
    pub host: String,
    /// In which place of a request.
    pub place: Option<String>,
    /// The client that asks.
    pub client: String,
    /// Why, in the client's words.
    pub reason: String,
    /// `open`, `declined` or `saved`.
    pub state: Cow<'static, str>,
    /// When it was asked for.
    pub asked: String,
    /// Until when it is kept.
    pub until: String,
}

impl KeyRequest {
    /// The view of a request under its number.
    pub fn new(number: i64, request: &key_request::KeyRequest) -> Self {
        Self {
            number,
            owner: request.owner.to_string(),
            slug: request.slug.to_string(),
            host: request.host.to_string(),
            place: request.place.as_ref().map(ToString::to_string),
            client: request.client.clone(),
            reason: request.reason.clone(),
            state: request.state().into(),
            asked: rfc3339(request.asked),
            until: rfc3339(request.until),
        }
    }
}

/// A request that was declined.
#[derive(Debug, Serialize)]
pub struct KeyRequestChange {
    /// Its number.
    pub number: i64,
}
