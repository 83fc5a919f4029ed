//! From the upstream's answer to the client's: relaying, scrubbing, and problem documents.

pub mod field_names;
pub mod findings;
pub mod problem;
pub mod relay;
pub mod reply_body;
pub mod scrubbing;
