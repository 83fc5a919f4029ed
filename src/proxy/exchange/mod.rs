//! What is decided about a request: the pipeline, and every step that it takes.

pub mod body;
pub mod exposed;
pub mod hop;
pub mod outcome;
pub mod permit;
pub mod pipeline;
pub mod recode;
pub mod searched;
pub mod signed;
pub mod sites;
pub mod upgrade;
pub mod uses;
pub mod watch;
