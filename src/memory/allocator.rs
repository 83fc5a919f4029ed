//! The allocator of the process.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// The system's allocator, which wipes each block before it frees it.
///
/// Without it, the value of a deleted credential would stay in the free lists until its space is
/// reused. A block that grows is copied to a new one for the same reason: `realloc` does not wipe
/// the old bytes when it moves a block. A program that links Egret chooses its own allocator;
/// `src/main.rs` chooses this one.
pub type Wiping = ZeroAlloc<System>;

/// [`Wiping`], for `#[global_allocator]`.
pub const WIPING: Wiping = ZeroAlloc(System);
