//! What happens to the bytes of a value when nobody needs them any more, and where they lie until
//! then.
//!
//! * **Freed memory is wiped**, all of it: the allocator of this process writes zeros before it
//!   takes a block back. A secret passes through buffers that belong to libraries (an HTTP head, a
//!   TLS record, the window of a decompressor, a future), and no type of ours can wipe those. Held
//!   to it by a test that searches the memory of a running server.
//! * **Stacks are wiped** ([`stack`]) when values go out of use.
//! * **Values lie in locked pages** ([`pool`]), which are neither swapped out nor dumped.
//!
//! And what has to do with no value: pages that are not needed are given back ([`trim`],
//! [`release_program`]).
//!
//! What this does not reach is said on the security page (`docs/security.md`): memory still in use
//! by a connection, registers, the kernel's socket buffers.

mod allocator;
mod pages;
pub mod pool;
#[cfg(target_os = "linux")]
mod program;
pub mod stack;

pub use allocator::{WIPING, Wiping};
pub use pages::{release_program, shared, trim};
