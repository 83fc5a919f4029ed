//! What is decided about a request: the pipeline, and every step that it takes.

pub mod authorisation;
pub mod awaited;
pub mod body;
pub mod headers;
pub mod hop_by_hop;
pub mod late;
pub mod leak_guard;
pub mod needle_cache;
pub mod occurrences;
pub mod out_body;
pub mod outcome;
pub(in crate::proxy) mod payload;
pub mod pipeline;
pub mod recode;
pub mod request_context;
pub mod request_id;
pub mod signed;
pub mod streamed_body;
pub mod unread;
pub mod upgrade;
pub mod used;
