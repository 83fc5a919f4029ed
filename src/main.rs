//! Egret's command line.

use std::process::ExitCode;

use egret::memory::{WIPING, Wiping};

/// Freed memory holds nothing.
#[global_allocator]
static ALLOCATOR: Wiping = WIPING;

fn main() -> ExitCode {
    egret::cli::main()
}
