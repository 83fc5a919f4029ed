//! From the upstream's answer to the client's: relaying, scrubbing, and problem documents.

pub mod field_names;
pub mod findings;
pub mod relay;
pub mod reply_body;
pub mod respond;
pub mod scrubbing;
