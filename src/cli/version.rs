//! `egret version`

use clap::Args;

use super::output::{self, Format};

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
        match self.format.json {
            true => output::json(&serde_json::json!({ "name": "egret", "version": version })),
            false => output::print(&format!("egret {version}\n")),
        }
    }
}
