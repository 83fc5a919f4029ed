//! The API of the admin listener: who may do what, what values leave behind, what changes need.

mod changes;
pub mod client;
mod document;
mod elsewhere;
mod elsewhere_ledger;
mod elsewhere_values;
mod framing;
mod generated;
pub mod here;
mod lists;
mod programs;
mod proofs;
mod questions;
mod rights;
mod sandboxes;
mod secrecy;
mod streams;
mod timing;
