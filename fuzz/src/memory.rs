//! Where values lie, without the allocator that wipes and the threads' stacks.

#[path = "../../src/memory/pages.rs"]
mod pages;
#[path = "../../src/memory/pool.rs"]
pub mod pool;
#[cfg(target_os = "linux")]
#[path = "../../src/memory/program.rs"]
mod program;

pub use pages::{release_program, shared, trim};
