//! The definitions of the format: lines, chain, tree, notes and checkpoints. They know bytes alone.
//!
//! [`fields`] is the table of a line's fields. [`entry`] is what happened, [`encoded`] its text,
//! [`record_ref`] and [`record`] what is read back. [`chain`] ties each line to the one before it,
//! [`merkle`] is the tree over all of them, [`note`] and [`checkpoint`] are what is signed, [`cosignature`] what a witness signs of that.

pub mod chain;
pub mod checkpoint;
pub mod cosignature;
pub mod encoded;
pub mod entry;
pub mod event;
mod fields;
mod json;
pub mod line_hash;
pub mod merkle;
pub mod note;
pub mod outcome;
pub mod record;
pub mod record_ref;
pub mod text;
pub mod timestamp;
pub mod value;
