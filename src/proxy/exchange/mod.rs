//! What is decided about a request: the pipeline, and every step that it takes.

pub mod awaited;
pub mod body;
pub mod exposed;
pub mod headers;
pub mod hop;
pub mod out_body;
pub mod outcome;
pub mod permit;
pub mod pipeline;
pub mod recode;
pub mod request_id;
pub mod searched;
pub mod signed;
pub mod sites;
pub mod upgrade;
pub mod used;
pub mod uses;
pub mod watch;
