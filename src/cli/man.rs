//! `egret man`

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

/// Write a manual page for each command into a directory
///
/// For those who make packages; people read `--help`.
#[derive(Args)]
#[command(after_help = "Example:\n  egret man /usr/share/man/man1")]
pub(super) struct Man {
    /// The directory, which has to be there
    directory: PathBuf,
}

impl Man {
    /// `command` is the whole command line.
    pub(super) fn run(self, command: clap::Command) -> anyhow::Result<()> {
        clap_mangen::generate_to(command, &self.directory).with_context(|| {
            let directory = self.directory.display();
            format!("the pages cannot be written into {directory}")
        })
    }
}
