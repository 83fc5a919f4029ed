//! `egret version`

use clap::Args;

use super::output::{self, Format};
use crate::views;

/// Print the version
#[derive(Args)]
#[command(after_help = "Example:\n  egret version --json")]
pub(super) struct Version {
    #[command(flatten)]
    format: Format,
}

impl Version {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        if self.format.json {
            let name = env!("CARGO_PKG_NAME");
            return output::json(&views::Version { name, version });
        }
        output::print(&format!("egret {version}\n"))
    }
}
