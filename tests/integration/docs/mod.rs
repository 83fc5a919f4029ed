//! What the repository says about itself and holds besides source: pages, data, no key.

mod files;
mod keys;
