//! How a command ends: its exit status, and an error as a person reads it.

use std::process::ExitCode;

use super::output;
use crate::config::{Origin, Problems};
use crate::observe::redact::redact;

/// The command was not understood; exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(String);

/// An error of usage that clap cannot find by itself.
pub(super) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}

/// Whether a flag of the command line has a value that its key cannot have.
fn is_of_a_flag(problems: &Problems) -> bool {
    problems
        .iter()
        .any(|problem| problem.key.is_some() && matches!(problem.origin, Some(Origin::Flag(_))))
}

/// Prints an error with its causes, without live values, and gives the exit status.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    if output::is_broken_pipe(error) {
        // As in `egret ledger tail | head`, which is no failure.
        return ExitCode::SUCCESS;
    }
    let say = |text: String| eprintln!("{}", redact(&text));
    say(format!("error: {error}"));
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Some errors repeat their cause in their own text.
        if !last.contains(&cause) {
            say(format!("  because: {cause}"));
        }
        last = cause;
    }
    if error.is::<Usage>() || error.downcast_ref().is_some_and(is_of_a_flag) {
        eprintln!("\nFor more information, try '--help'.");
        return ExitCode::from(2);
    }
    ExitCode::FAILURE
}
