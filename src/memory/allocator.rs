//! The allocator of the process.

use std::alloc::System;

use zeroizing_alloc::ZeroAlloc;

/// The system's allocator, behind zeros.
///
/// Without it the value of a deleted credential would lie in the free lists until something else
/// needed the space. A block that grows is moved for the same reason: where `realloc` moves one by
/// itself it leaves the old bytes behind. A program that links Egret chooses its allocator itself;
/// `src/main.rs` chooses this one.
pub type Wiping = ZeroAlloc<System>;

/// [`Wiping`], for `#[global_allocator]`.
pub const WIPING: Wiping = ZeroAlloc(System);
