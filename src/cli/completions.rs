//! `egret completions`

use clap::Args;
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
    pub(super) fn run(self, command: &mut clap::Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, "egret", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
