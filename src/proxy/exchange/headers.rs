//! The names of Egret's own header fields.

use http::header::HeaderName;

/// Carries the code on every answer that the proxy itself gives.
pub const EGRET_ERROR: &str = "egret-error";

/// Carries the request's id on every answer to a request that held a placeholder.
pub const EGRET_REQUEST: HeaderName = HeaderName::from_static("egret-request");

/// Names the slugs that were passed on literally (`unresolved = "ignore"`).
pub const EGRET_IGNORED: HeaderName = HeaderName::from_static("egret-ignored");
/// Shows the token where there is no proxy to show it to.
pub const EGRET_TOKEN: HeaderName = HeaderName::from_static("egret-token");
/// Names the action that a request is for.
pub const EGRET_ACTION: HeaderName = HeaderName::from_static("egret-action");
/// Names the run of the action.
pub const EGRET_RUN: HeaderName = HeaderName::from_static("egret-run");
