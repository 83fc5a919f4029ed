//! `egret config`

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::context::Context;
use super::output::{self, Format};
use crate::config::{Loaded, Problems, Shown};
use crate::views::{ConfigProblem, ConfigSetting, InvalidConfig, ValidConfig};

/// Check the configuration, or show what is in force
#[derive(Args)]
pub(super) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find mistakes in the configuration, all of them at once
    ///
    /// Reads the file, the environment and the embedded defaults as `egret serve` would. Exit
    /// status 1 if something is wrong.
    #[command(after_help = "\
Examples:
  egret config check
  egret config check --config new.toml && mv new.toml egret.toml && egret reload")]
    Check(Format),
    /// Show every setting and where it came from
    #[command(after_help = "\
Examples:
  egret config show
  EGRET_BODY_BUFFER=4MiB egret config show --json | jq '.[] | select(.key == \"body.buffer\")'")]
    Show(Format),
}

impl Config {
    pub(super) fn run(self, context: &Context) -> anyhow::Result<ExitCode> {
        let loaded = context.load();
        match self.command {
            Command::Check(format) => check(loaded, format),
            Command::Show(format) => {
                let settings = loaded?.settings;
                let views: Vec<_> = settings.iter().map(ConfigSetting::new).collect();
                output::data(format, &views, || to_text(&settings))?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

fn check(loaded: Result<Loaded, Problems>, format: Format) -> anyhow::Result<ExitCode> {
    match loaded {
        Ok(loaded) => {
            let file = loaded.file.map(|file| file.display().to_string());
            let what = file.clone();
            let view = ValidConfig {
                file,
                problems: [],
                valid: true,
            };
            output::data(format, &view, || {
                let what = what.unwrap_or_else(|| "no file; embedded defaults".to_owned());
                format!("The configuration is valid ({what}).\n")
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) if format.json => {
            output::json(&InvalidConfig {
                problems: problems.iter().map(ConfigProblem::new).collect(),
                valid: false,
            })?;
            Ok(ExitCode::FAILURE)
        }
        Err(problems) => Err(problems.into()),
    }
}

/// `key = value  # origin`, so that the output is a configuration file but for `data_dir`.
fn to_text(settings: &[Shown]) -> String {
    let settings: Vec<(String, String)> = settings
        .iter()
        .map(|setting| {
            (
                format!("{} = {}", setting.key, setting.toml),
                setting.origin.to_string(),
            )
        })
        .collect();
    // One very long list must not push every origin off the screen.
    let width = settings
        .iter()
        .map(|(text, _)| text.chars().count())
        .filter(|width| *width <= 60);
    let width = width.max().unwrap_or(0);
    settings
        .iter()
        .map(|(text, origin)| format!("{text:width$}  # {origin}\n"))
        .collect()
}
