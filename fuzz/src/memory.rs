//! Where values lie, without the allocator that wipes and the threads' stacks.

#[path = "../../src/memory/pages.rs"]
mod pages;
#[path = "../../src/memory/pool.rs"]
pub mod pool;

pub use pages::{shared, trim};
