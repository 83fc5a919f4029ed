//! Egret's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    egret::cli::main()
}
