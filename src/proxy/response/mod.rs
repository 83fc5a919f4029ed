//! From the upstream's answer to the client's: relaying, scrubbing, and problem documents.

pub mod answer_kind;
pub mod audience;
pub mod field_names;
pub mod findings;
pub mod forms;
pub mod interim;
pub mod message_framing;
pub mod own;
pub mod pause;
pub mod problem;
pub mod relay;
pub mod reply_body;
pub mod scrubbing;
pub mod silence;
pub mod stages;
pub mod transfer_coding;
