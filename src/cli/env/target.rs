//! What `egret env` prints for.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::container::Runner;
use super::wrapper::Assistant;
use crate::cli::child::quote::Shell;

/// A value of `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// Assignments.
    Shell(Shell),
    /// The MCP configuration of an assistant.
    Assistant(Assistant),
    /// What a container needs.
    Container(Runner),
}

impl ValueEnum for Target {
    fn value_variants<'a>() -> &'a [Self] {
        use Target::{Assistant as A, Container as C, Shell as S};
        &[
            S(Shell::Sh),
            S(Shell::Fish),
            S(Shell::Power),
            S(Shell::DotEnv),
            A(Assistant::Mcp),
            A(Assistant::Claude),
            A(Assistant::Codex),
            A(Assistant::Gemini),
            A(Assistant::Vscode),
            C(Runner::Compose),
            C(Runner::Kubernetes),
            C(Runner::N8n),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Shell(shell) => shell.to_possible_value(),
            Self::Assistant(assistant) => assistant.to_possible_value(),
            Self::Container(runner) => runner.to_possible_value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_can_be_printed_is_left_out() {
        let all = Shell::value_variants().iter().map(|it| Target::Shell(*it));
        let all = all.chain(
            Assistant::value_variants()
                .iter()
                .map(|it| Target::Assistant(*it)),
        );
        let all = all.chain(
            Runner::value_variants()
                .iter()
                .map(|it| Target::Container(*it)),
        );
        assert!(all.eq(Target::value_variants().iter().copied()));
    }
}
