//! What the repository says about itself and holds besides source: pages, data, no key.

mod blocks;
mod files;
mod generated;
mod keys;
mod links;
mod markdown;
pub mod tables;
