//! `egret completions`

use clap::builder::{PossibleValue, PossibleValuesParser, Resettable};
use clap::{Arg, Args};
use clap_complete::Shell;

use super::output;

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret completions bash > ~/.local/share/bash-completion/completions/egret
  egret completions zsh > ~/.zfunc/_egret
  egret completions fish > ~/.config/fish/completions/egret.fish")]
pub(super) struct Completions {
    /// The shell that it is for
    shell: Shell,
}

impl Completions {
    /// `command` is the whole command line.
    pub(super) fn run(self, command: clap::Command) -> anyhow::Result<()> {
        output::print(&script(self.shell, command))
    }
}

fn script(shell: Shell, command: clap::Command) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut with_plain_values(command), "egret", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The command without descriptions of values that a shell would run.
///
/// The generated scripts put a list of values, with their descriptions, between double quotes.
/// There fish runs what is in `$(…)` when it reads the script, and zsh when it completes.
fn with_plain_values(command: clap::Command) -> clap::Command {
    let arguments: Vec<_> = command
        .get_arguments()
        .map(|it| it.get_id().clone())
        .collect();
    let names: Vec<_> = command
        .get_subcommands()
        .map(|it| it.get_name().to_owned())
        .collect();
    let command = arguments.into_iter().fold(command, |command, id| {
        command.mut_arg(id, with_plain_descriptions)
    });
    names.into_iter().fold(command, |command, name| {
        command.mut_subcommand(name, with_plain_values)
    })
}

fn with_plain_descriptions(argument: Arg) -> Arg {
    let values = argument.get_possible_values();
    if values.iter().all(is_plain) {
        return argument;
    }
    let without = |value: PossibleValue| value.help(Resettable::Reset);
    let values = values.into_iter().map(|value| {
        if is_plain(&value) {
            value
        } else {
            without(value)
        }
    });
    argument.value_parser(PossibleValuesParser::new(values))
}

/// Whether the description of a value has no character that a shell acts on.
fn is_plain(value: &PossibleValue) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || " ,.-".contains(c);
    value
        .get_help()
        .is_none_or(|help| help.to_string().chars().all(is_word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_that_a_shell_would_run_is_left_out() {
        let values = [
            "\"$(touch run)\"",
            "`touch run`",
            "it's",
            "plain words, and more",
        ]
        .into_iter()
        .zip(["one", "two", "three", "four"])
        .map(|(help, name)| PossibleValue::new(name).help(help));
        let option = Arg::new("option")
            .long("option")
            .value_parser(PossibleValuesParser::new(values));
        let command =
            clap::Command::new("egret").subcommand(clap::Command::new("inner").arg(option));
        for shell in [
            Shell::Bash,
            Shell::Elvish,
            Shell::Fish,
            Shell::PowerShell,
            Shell::Zsh,
        ] {
            let script = script(shell, command.clone());
            assert!(
                !script.contains("touch") && !script.contains("it's"),
                "{script}"
            );
        }
        let script = script(Shell::Zsh, command);
        assert!(
            script.contains("three") && script.contains("plain words"),
            "{script}"
        );
    }
}
