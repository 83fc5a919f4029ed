//! The memory that holds values, and how it is wiped after use.
//!
//! * **Freed memory is wiped**, all of it: the allocator of this process writes zeros into a block
//!   before it frees it. A secret passes through buffers of libraries (an HTTP head, a TLS record,
//!   the window of a decompressor, a future), which no type of ours can wipe. A test searches the
//!   memory of a running server.
//! * **Stacks are wiped** ([`stack`]) when values go out of use.
//! * **Values are in locked pages** ([`pool`]), which are neither swapped out nor dumped.
//!
//! Pages that are not needed are returned to the system ([`trim`], [`release_program`]), whether or
//! not they held a value.
//!
//! The security page (`docs/security.md`) lists what this does not reach: memory still in use by a
//! connection, registers, the kernel's socket buffers.

mod allocator;
mod pages;
pub mod pool;
#[cfg(target_os = "linux")]
mod program;
pub mod stack;

pub use allocator::{WIPING, Wiping};
pub use pages::{release_program, shared, trim};
